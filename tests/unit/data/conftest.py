from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.tiny_lidar import write_raw_nuscenes


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    """A raw data root with two mini_val scenes and one of mini_train, 4 keyframes each; do not change it."""
    return write_raw_nuscenes(tmp_path_factory.mktemp("raw") / "nuscenes")
