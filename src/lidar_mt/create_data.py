"""Makes the GT database of a packed split: the points of every object, an index of them, and a list of keyframes.

    python -m lidar_mt.create_data packed=DIR version=v1.0-mini

Useful keys:
    packed=DIR         what pack_data wrote
    version=NAME       nuScenes version under it
    split=train        train; val for experiments that train on the validation split
    out=DIR            writes nuscenes_gt_database/, nuscenes_dbinfos_train.pkl and nuscenes_infos_train.pkl there;
                       <packed>/<version> by default
    workers=N          processes; one per core by default
    executor=ray       on a Ray cluster, see conf/executor/ray.yaml; executor.address=HOST:PORT of a running one
    allow_empty=true   accept that a small set has no object of some class
    overwrite=true     replace a finished database

A run that was stopped goes on where it was when the same command is given again.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from omegaconf import DictConfig

from lidar_mt.config import instantiate, program
from lidar_mt.data.executor import Executor
from lidar_mt.data.gt_building import DatabasePlan, build_database
from lidar_mt.data.gt_database import dbinfos_name
from lidar_mt.data.gt_summary import format_counts

log = logging.getLogger("lidar_mt.create_data")


@program("create_data")
def main(cfg: DictConfig) -> None:
    """Makes the database and prints the counts per class."""
    plan = DatabasePlan(
        packed=Path(cfg.packed),
        version=cfg.version,
        split=cfg.split,
        out=Path(cfg.out),
        classes=instantiate(cfg.classes).detection,
    )
    if cfg.split == "val":
        log.warning("split=%s: objects of a split that scores are computed on must not be trained on", cfg.split)
    begin = time.monotonic()
    executor: Executor = instantiate(cfg.executor)
    counts = build_database(plan, allow_empty=cfg.allow_empty, overwrite=cfg.overwrite, executor=executor)
    print(format_counts(counts))
    log.info(
        "wrote %d objects to %s in %.0f s",
        sum(count.stored for count in counts),
        plan.out / dbinfos_name(plan.split),
        time.monotonic() - begin,
    )


if __name__ == "__main__":
    main()
