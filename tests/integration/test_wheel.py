"""The programs work from an installed wheel, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_wheel_carries_the_configuration(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index"]
    install = [*pip, "--target", str(tmp_path / "site"), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    assert (tmp_path / "site/lidar_mt/visualization/viewer.html").is_file()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "COLUMNS": "120"}
    code = "import lidar_mt.config as c; print(c.CONF_DIR); print(c.compose('train', ['experiment=demo']).run_name)"
    composed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert composed.stdout.split() == [str(tmp_path / "site/lidar_mt/conf"), "demo"]
    calops = subprocess.run(
        [sys.executable, "-m", "lidar_mt.calops"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "2,459,340" in calops.stdout
    # It prints and leaves no run folder behind.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dist", "site"]
