"""The vector layer `drivable_area` of the map expansion: polygons with holes, in the global frame.

    <location>.geojson   a MultiPolygon of the layer alone
    <location>.json      the official map expansion, such as boston-seaport.json

A position is inside a polygon if a ray from it crosses the rings an odd number of times. That rule needs no valid
geometry, which the layer's self-touching rings are not, and takes holes as they come.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from lidar_mt.structures.errors import DataError

Float64 = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Ring = list[tuple[float, float]]


@dataclass(frozen=True)
class PolygonMap:
    """A union of polygons.

    Attributes:
        edges: per polygon, (E, 2, 2) float64 start and end x, y [m] of the edges of all its rings.
        low: (N, 2) least x, y of each polygon.
        high: (N, 2) greatest x, y of each polygon.
    """

    edges: tuple[Float64, ...]
    low: Float64
    high: Float64

    @classmethod
    def of_rings(cls, polygons: Iterable[Iterable[Ring]]) -> PolygonMap:
        """Makes a map of polygons, each a list of rings: the outline, then holes."""
        edges = tuple(np.concatenate([_ring_edges(ring) for ring in rings]) for rings in polygons)
        corners = [polygon.reshape(-1, 2) for polygon in edges]
        low, high = (np.array([f(c, axis=0) for c in corners]).reshape(-1, 2) for f in (np.min, np.max))
        return cls(edges, low, high)

    def driveable(self, global_from_cell: Float64, shape: tuple[int, int]) -> BoolArray:
        """Looks up the cells of a grid, see `maps.base.DriveableMap`."""
        height, width = shape
        ends = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ global_from_cell.T
        near = ((self.low <= ends.max(axis=0)) & (self.high >= ends.min(axis=0))).all(axis=1)
        matrix = np.linalg.inv(global_from_cell[:, :2])
        found = np.zeros(shape, dtype=bool)
        for number in np.flatnonzero(near):
            found |= _fill((self.edges[number] - global_from_cell[:, 2]) @ matrix.T, shape)
        return found


def _ring_edges(ring: Ring) -> Float64:
    corners = np.array(ring, dtype=np.float64).reshape(-1, 2)
    return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)


def _fill(edges: Float64, shape: tuple[int, int]) -> BoolArray:
    """Fills rings by the even-odd rule.

    Args:
        edges: (E, 2, 2) start and end of the edges as (column, row); whole numbers are cell centres.
        shape: (H, W).

    Returns:
        (H, W) bool.
    """
    height, width = shape
    start, end = edges[:, 0], edges[:, 1]
    # An edge crosses the rows in [lower, upper), so a corner on a row counts for one of its two edges.
    first = np.clip(np.ceil(np.minimum(start[:, 1], end[:, 1])), 0, height).astype(np.int64)
    stop = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1])), 0, height).astype(np.int64)
    crossed = np.flatnonzero(stop > first)
    counts = (stop - first)[crossed]
    edge = np.repeat(crossed, counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts - first[crossed], counts)
    share = (row - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
    column = start[edge, 0] + share * (end[edge, 0] - start[edge, 0])
    first_right = np.clip(np.ceil(column), 0, width).astype(np.int64)
    crossings = np.bincount(row * (width + 1) + first_right, minlength=height * (width + 1))
    inside: BoolArray = crossings.reshape(height, width + 1)[:, :-1].cumsum(axis=1) % 2 == 1
    return inside


class _MultiPolygon(msgspec.Struct):
    type: Literal["MultiPolygon"]
    coordinates: list[list[Ring]]


class _Node(msgspec.Struct):
    token: str
    x: float
    y: float


class _Hole(msgspec.Struct):
    node_tokens: list[str]


class _Polygon(msgspec.Struct):
    token: str
    exterior_node_tokens: list[str]
    holes: list[_Hole]


class _Area(msgspec.Struct):
    polygon_tokens: list[str]


class _Expansion(msgspec.Struct):
    node: list[_Node]
    polygon: list[_Polygon]
    drivable_area: list[_Area]


@functools.lru_cache(maxsize=64)
def read_polygons(folder: Path, location: str) -> PolygonMap:
    """Reads the layer of one location; the last ones stay in the process's memory.

    Args:
        folder: of `<location>.geojson` or `<location>.json` files.
        location: as log.json names it.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    for name, read in ((f"{location}.geojson", _read_geojson), (f"{location}.json", _read_expansion)):
        path = folder / name
        if path.is_file():
            try:
                return PolygonMap.of_rings(read(path.read_bytes()))
            except (OSError, msgspec.DecodeError, KeyError, ValueError) as error:
                raise DataError(f"{path} holds no driveable area: {error}; download the map expansion again") from error
    raise DataError(
        f"no {location}.geojson or {location}.json in {folder}; unpack the nuScenes map expansion there, or use "
        "bev_labels=map_mask"
    )


def _read_geojson(data: bytes) -> Any:
    return msgspec.json.decode(data, type=_MultiPolygon).coordinates


def _read_expansion(data: bytes) -> Any:
    layers = msgspec.json.decode(data, type=_Expansion)
    nodes = {node.token: (node.x, node.y) for node in layers.node}
    polygons = {polygon.token: polygon for polygon in layers.polygon}
    chosen = (polygons[token] for area in layers.drivable_area for token in area.polygon_tokens)
    return [
        [[nodes[token] for token in ring] for ring in (p.exterior_node_tokens, *(hole.node_tokens for hole in p.holes))]
        for p in chosen
    ]
