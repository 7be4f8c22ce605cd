"""Checks a packed split, record by record, and what lies beside it: tables, maps and GT database; names what is bad.

    python -m lidar_mt.verify_data version=v1.0-mini split=train packed=DIR

Useful keys:
    packed=DIR    packed root, the out= of pack_data
    version=NAME  packed version
    split=train   train or val
    store=DIR     check this folder instead of <packed>/<version>/<split>_lmdb

The exit status is 0 for a good store and 2 for a bad one.
"""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from lidar_mt.config import program
from lidar_mt.data.gt_verify import verify_database
from lidar_mt.data.layout import meta_path, store_path
from lidar_mt.data.lmdb_store.manifest import manifest_hash, read_manifest
from lidar_mt.data.lmdb_store.verify import verify_store
from lidar_mt.data.meta_files import verify_meta
from lidar_mt.data.progress import Progress
from lidar_mt.structures.errors import DataError

log = logging.getLogger("lidar_mt.verify_data")


@program("verify_data")
def main(cfg: DictConfig) -> None:
    """Checks and reports; a bad store ends as an error."""
    path = Path(cfg.store) if cfg.store else store_path(cfg.packed, cfg.version, cfg.split)
    manifest = read_manifest(path)
    total = manifest.scenes + manifest.keyframes + manifest.sweeps + 1
    with Progress(f"verifying {path.name}", "record", total) as progress:
        report = verify_store(path, progress.update)
    meta = meta_path(path.parent.parent, path.parent.name)
    bad_meta = verify_meta(meta, manifest.source_version)
    bad_database = verify_database(path.parent, manifest)
    for key, reason in (*report.bad, *bad_meta, *bad_database):
        print(f"bad {key}: {reason}")
    where = f"version={manifest.source_version} split={manifest.split}"
    pack = f"`python -m lidar_mt.pack_data src=RAW {where} out={path.parent.parent} overwrite=true`"
    if report.bad:
        raise DataError(f"{path}: {len(report.bad)} of {total} records are bad; pack again: {pack}")
    if bad_meta:
        raise DataError(f"{meta}: {len(bad_meta)} files are bad; remove this folder and pack again: {pack}")
    if bad_database:
        create = f"`python -m lidar_mt.create_data {where} packed={path.parent.parent} overwrite=true`"
        raise DataError(f"{path.parent}: {len(bad_database)} files of the GT database are bad; run {create}")
    log.info(
        "%s: all %d records and the files beside them are good, manifest %s",
        path,
        report.records,
        manifest_hash(path)[:16],
    )


if __name__ == "__main__":
    main()
