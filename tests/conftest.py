"""Fixtures that several folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.helpers.programs import Programs


def pytest_configure() -> None:
    """Two test processes share two cores: more threads each would wait for one another."""
    torch.set_num_threads(1 if os.environ.get("PYTEST_XDIST_WORKER") else 2)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Programs:
    """Runs programs by name: `programs("train", "stage=float")`."""
    return Programs(monkeypatch, capsys)


@pytest.fixture(scope="session")
def nuscenes_root() -> Path:
    """Folder of real nuScenes frames, from the environment variable LIDAR_MT_NUSCENES."""
    root = os.environ.get("LIDAR_MT_NUSCENES")
    if not root:
        pytest.skip("set LIDAR_MT_NUSCENES to a folder with real nuScenes frames")
    return Path(root)
