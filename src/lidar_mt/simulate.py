"""Writes a simulated data set in the official nuScenes format.

    python -m lidar_mt.simulate out=DIR version=v1.0-mini scenes=10 keyframes=40 seed=0

Useful keys:
    out=DIR              folder to write; an earlier simulated set there is replaced
    version=v1.0-mini    or v1.0-trainval: its official splits give the scene names
    scenes=10            taken from train and val in the official proportion
    keyframes=40         per scene, two per second
    sweeps=10            turns of the sensor that a keyframe can look back on
    seed=0               same seed, same bytes
    workers=2            processes
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from omegaconf import DictConfig

from lidar_mt.config import program
from lidar_mt.data.nuscenes.splits import scene_names
from lidar_mt.data.simulation import Plan, choose_scenes, write_dataset


@program("simulate")
def main(cfg: DictConfig) -> None:
    """Simulates and says where the data is and what comes next."""
    scenes = choose_scenes(scene_names(cfg.version), cfg.scenes, cfg.version)
    plan = Plan(cfg.version, scenes, cfg.keyframes, cfg.sweeps, cfg.seed)
    out = Path(cfg.out)
    begin = time.monotonic()
    write_dataset(out, plan, cfg.workers or os.cpu_count() or 1)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(
        f"wrote {len(scenes)} scenes, {len(scenes) * cfg.keyframes} keyframes, {size / 1e9:.2f} GB "
        f"to {out} in {time.monotonic() - begin:.0f} s\n"
        f"next: python -m lidar_mt.pack_data src={out} version={cfg.version} split=train out=PACKED"
    )


if __name__ == "__main__":
    main()
