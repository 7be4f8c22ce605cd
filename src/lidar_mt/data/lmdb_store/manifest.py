"""What a packed store says about itself, in a JSON file beside its data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
import xxhash

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
        program_version: of the program that packed.
        source_version: nuScenes version that was packed.
        split: 'train' or 'val'.
        scenes: number of scenes.
        keyframes: number of keyframes.
        sweeps: number of stored LiDAR sweeps, the keyframes' own included.
        has_lidarseg: every keyframe has lidarseg labels, or none has.
        raw_bytes: size of the raw files of these sweeps.
        tables_hash: of the tables that were read, see `hash_files`.
        records_hash: of all records, see `hash_records`.
        data_bytes: size of the data file.
        skipped_files: point files that were damaged and left out.
    """

    schema_version: int
    convention: str
    program_version: str
    source_version: str
    split: str
    scenes: int
    keyframes: int
    sweeps: int
    has_lidarseg: bool
    records_hash: str
    data_bytes: int
    raw_bytes: int = 0
    tables_hash: str = ""
    skipped_files: int = 0


def hash_records(scenes: Iterable[tuple[bytes, int]]) -> str:
    """One hash over a whole store.

    Args:
        scenes: keys and checksums of the scene records, in the order of the keys. A scene record in turn lists keys
            and checksums of all other records of its scene.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    return hashlib.sha256(b"".join(key + checksum.to_bytes(8, "little") for key, checksum in scenes)).hexdigest()


def hash_files(paths: Iterable[Path]) -> str:
    """XXH3 (128 bits) over names and contents of files, in hexadecimal digits."""
    total = xxhash.xxh3_128()
    for path in paths:
        total.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                total.update(block)
    return total.hexdigest()


def manifest_hash(folder: Path) -> str:
    """SHA-256 of the manifest of a store: equal for stores with equal records, however they were packed."""
    return hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest()


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
    again = f"remove {folder} and run `make pack-data`"
    try:
        manifest = parse_manifest(path.read_bytes(), folder)
    except FileNotFoundError as error:
        raise DataError(f"no finished lmdb at {folder} ({MANIFEST_NAME} is missing); run `make pack-data`") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}; {again}") from error
    data = folder / DATA_NAME
    found_bytes = data.stat().st_size if data.is_file() else 0
    if found_bytes != manifest.data_bytes:
        raise DataError(
            f"{data} has {found_bytes} bytes, its manifest says {manifest.data_bytes}: the file is truncated or was "
            f"replaced; {again}"
        )
    return manifest


def parse_manifest(text: bytes, folder: Path | None = None) -> Manifest:
    """Reads the text of a manifest.

    Args:
        text: JSON.
        folder: of the store, to name in messages; None is a store without a folder.

    Raises:
        DataError: the text is damaged, or of another schema or convention.
    """
    where, path = ("the store", MANIFEST_NAME) if folder is None else (folder, folder / MANIFEST_NAME)
    again = "" if folder is None else f"remove {folder} and "
    try:
        schema = msgspec.json.decode(text, type=_Schema)
        if schema.schema_version != SCHEMA_VERSION:
            out = "DIR" if folder is None else folder.parent.parent
            raise DataError(
                f"{where} has schema version {schema.schema_version}, this program reads {SCHEMA_VERSION}; pack it "
                f"again: `python -m lidar_mt.pack_data src=RAW version={schema.source_version} split={schema.split} "
                f"out={out} overwrite=true`"
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; {again}run `make pack-data`") from error
    if manifest.convention != CONVENTION:
        raise DataError(
            f"{where} has convention {manifest.convention!r}, this program reads {CONVENTION!r}; "
            f"{again}run `make pack-data`"
        )
    return manifest


class _Schema(msgspec.Struct):
    """What every version of the manifest says."""

    schema_version: int
    source_version: str = "..."
    split: str = "..."
