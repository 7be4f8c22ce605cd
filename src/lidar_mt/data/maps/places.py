"""Which scene, location and map a keyframe belongs to, from the tables beside a packed split."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from lidar_mt.data.lmdb_store.records import TOKEN_BYTES
from lidar_mt.structures.errors import DataError

#: Scenes that lie outside of the annotated map, as the nuScenes documentation lists them.
UNMAPPED_SCENES = frozenset({"scene-0501", "scene-0502"})


class Place(NamedTuple):
    """Where a keyframe was recorded.

    Attributes:
        scene: name of its scene.
        location: such as boston-seaport.
        mask: file of the raster mask, relative to the data root.
    """

    scene: str
    location: str
    mask: str


class _Sample(msgspec.Struct):
    token: str
    scene_token: str


class _Scene(msgspec.Struct):
    token: str
    name: str
    log_token: str


class _Log(msgspec.Struct):
    token: str
    location: str


class _Map(msgspec.Struct):
    filename: str
    log_tokens: list[str]


Row = TypeVar("Row", bound=msgspec.Struct)


class Places:
    """Looks keyframes up by token; per keyframe it holds 36 bytes and no Python object.

    Args:
        root: data root, such as `<packed>/<version>/meta`.
        version: its table folder.

    Raises:
        DataError: a table is missing or damaged, or refers to rows that are not there.
    """

    def __init__(self, root: Path, version: str) -> None:
        folder = self._folder = root / version
        samples, scenes = _read(folder, "sample", _Sample), _read(folder, "scene", _Scene)
        location_of = {log.token: log.location for log in _read(folder, "log", _Log)}
        mask_of = {token: row.filename for row in _read(folder, "map", _Map) for token in row.log_tokens}
        try:
            self._places = [Place(s.name, location_of[s.log_token], mask_of[s.log_token]) for s in scenes]
            number_of = {scene.token: number for number, scene in enumerate(scenes)}
            numbers = np.array([number_of[sample.scene_token] for sample in samples], dtype=np.int32)
        except KeyError as error:
            raise DataError(
                f"the tables in {folder} have no row {error} that others name; pack the data again"
            ) from error
        tokens = np.array([sample.token.encode() for sample in samples], dtype=f"S{TOKEN_BYTES}")
        order = np.argsort(tokens)
        self._tokens, self._numbers = tokens[order], numbers[order]

    def __getitem__(self, token: str) -> Place:
        """The place of a keyframe.

        Raises:
            DataError: the tables do not know the token.
        """
        key = np.bytes_(token.encode())
        at = int(np.searchsorted(self._tokens, key))
        if at == len(self._tokens) or self._tokens[at] != key:
            raise DataError(f"keyframe {token} is not in {self._folder / 'sample.json'}; pack the data again")
        return self._places[int(self._numbers[at])]


def _read(folder: Path, table: str, row: type[Row]) -> list[Row]:
    path = folder / f"{table}.json"
    try:
        rows: Any = msgspec.json.decode(path.read_bytes(), type=list[row])  # type: ignore[valid-type]
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; pack the data again") from error
    return list(rows)
