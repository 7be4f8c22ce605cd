"""Where the parts of packed data lie.

<packed>/<version>/train_lmdb/   data.mdb, manifest.json
<packed>/<version>/val_lmdb/     the same
<packed>/<version>/meta/         <version>/*.json and maps/*: a data root for the devkit, without any sensor data
"""

from __future__ import annotations

from pathlib import Path


def store_path(packed: str | Path, version: str, split: str) -> Path:
    """Folder of a packed split."""
    return Path(packed) / version / f"{split}_lmdb"


def meta_path(packed: str | Path, version: str) -> Path:
    """Folder of the copied tables and maps of a packed version."""
    return Path(packed) / version / "meta"
