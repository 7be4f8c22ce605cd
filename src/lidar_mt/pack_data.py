"""Packs a split of raw nuScenes into an lmdb, with the tables that evaluation needs beside it.

    python -m lidar_mt.pack_data src=DIR version=v1.0-mini split=train out=DIR

Useful keys:
    src=DIR          raw data root: samples/, sweeps/, maps/, v1.0-*/ and, for segmentation, lidarseg/
    version=NAME     table folder; a name that ends in mini means the devkit's mini splits
    split=train      train or val; test in a version that ends in test
    out=DIR          writes <out>/<version>/<split>_lmdb and <out>/<version>/meta
    overwrite=true   replace a finished store
    on_bad_file=skip leave damaged point files out, up to 0.1 % of all
    workers=N        processes; all cores without it
    executor=ray     on a Ray cluster, see conf/executor/ray.yaml; executor.address=HOST:PORT of a running one

A run that was stopped goes on where it was when the same command is given again.
"""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from lidar_mt.config import instantiate, program
from lidar_mt.data.executor import Executor
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.manifest import manifest_hash
from lidar_mt.data.packing import pack_split

log = logging.getLogger("lidar_mt.pack_data")


@program("pack_data")
def main(cfg: DictConfig) -> None:
    """Packs and reports what came of it."""
    out = Path(cfg.out)
    path = store_path(out, cfg.version, cfg.split)
    executor: Executor = instantiate(cfg.executor)
    manifest = pack_split(
        Path(cfg.src), cfg.version, cfg.split, out, cfg.overwrite, executor=executor, on_bad_file=cfg.on_bad_file
    )
    log.info(
        "packed %d keyframes and %d sweeps of %d scenes into %s (%.1f MB, %.3f of the raw files; manifest %s)",
        manifest.keyframes,
        manifest.sweeps,
        manifest.scenes,
        path,
        manifest.data_bytes / 1e6,
        manifest.data_bytes / max(1, manifest.raw_bytes),
        manifest_hash(path)[:16],
    )


if __name__ == "__main__":
    main()
