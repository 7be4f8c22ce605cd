"""What a packed store says about itself, in a JSON file beside its data."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lidar_mt.data.lmdb_store.codec import SCHEMA_VERSION
from lidar_mt.structures.errors import DataError

MANIFEST_NAME = "manifest.json"
DATA_NAME = "data.mdb"
#: Frames, orders and units of the stored values; another id means values that this program would misread.
CONVENTION = "lidar-frame/xyz-wlh-yaw-vxvy/quaternion-wxyz/us"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Description of one packed split.

    Attributes:
        schema_version: of the records.
        convention: id of frames, orders and units.
        source_version: nuScenes version that was packed.
        split: 'train' or 'val'.
        scenes: number of scenes.
        keyframes: number of keyframes.
        sweeps: number of stored LiDAR sweeps, the keyframes' own included.
        has_lidarseg: every keyframe has lidarseg labels, or none has.
        data_bytes: size of the data file.
    """

    schema_version: int
    convention: str
    source_version: str
    split: str
    scenes: int
    keyframes: int
    sweeps: int
    has_lidarseg: bool
    data_bytes: int


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of a finished store into its folder."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MANIFEST_NAME).write_bytes(text + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """Reads a store's manifest and checks the data file against it, without opening the data file.

    A memory-mapped file that is shorter than its own page table kills the process, hence the check.

    Args:
        folder: the store, such as `<packed>/v1.0-mini/train_lmdb`.

    Raises:
        DataError: no store there, a damaged manifest, another schema or convention, or a data file of another size.
    """
    if not folder.is_dir():
        packed = sorted(path.name.removesuffix("_lmdb") for path in folder.parent.glob("*_lmdb"))
        there = f"packed there: {', '.join(packed)}" if packed else "nothing is packed there"
        split = folder.name.removesuffix("_lmdb")
        raise DataError(
            f"no lmdb at {folder} ({there}); run `make pack-data VERSION={folder.parent.name} SPLITS={split}`, "
            "or name another split or version"
        )
    path = folder / MANIFEST_NAME
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise DataError(f"no finished lmdb at {folder} ({MANIFEST_NAME} is missing); run `make pack-data`") from error
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}; remove {folder} and run `make pack-data`") from error
    _check(folder, manifest)
    return manifest


def _check(folder: Path, manifest: Manifest) -> None:
    for what, found, wanted in (
        ("schema version", manifest.schema_version, SCHEMA_VERSION),
        ("convention", manifest.convention, CONVENTION),
    ):
        if found != wanted:
            raise DataError(
                f"{folder} has {what} {found!r}, this program reads {wanted!r}; remove it and run `make pack-data`"
            )
    data = folder / DATA_NAME
    found_bytes = data.stat().st_size if data.is_file() else 0
    if found_bytes != manifest.data_bytes:
        raise DataError(
            f"{data} has {found_bytes} bytes, its manifest says {manifest.data_bytes}: the file is truncated or was "
            f"replaced; remove {folder} and run `make pack-data`"
        )
