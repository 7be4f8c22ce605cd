"""What an exported network expects and returns: the one owner of tensor names and their order at the export border."""

from __future__ import annotations

import hashlib
import math
from collections import namedtuple
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
from torch import Tensor

from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ArtefactError, ConfigError
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.outputs import GroupOutput, NetOutput, SegmentationOutput

#: Version of the artefact's layout.
FORMAT = 1
FEATURES, COORDS, CANVAS = "features", "coords", "canvas"
#: Named tuples that decoders know; others come back as a tuple with the same names.
_RECORDS = {record.__name__: record for record in (GroupOutput, SegmentationOutput)}


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value whose every field must be there, with its type, and no other."""


class TensorSpec(_Strict, frozen=True):
    """A tensor at the border.

    Attributes:
        name: as in the exported file.
        dtype: of the elements.
        shape: all dimensions, the batch of 1 included.
    """

    name: str
    dtype: Literal["float32", "int64", "uint8", "int8", "int16"]
    shape: tuple[int, ...]


class Leaf(_Strict, frozen=True, tag="tensor"):
    """An output tensor by name."""

    name: str


class Record(_Strict, frozen=True, tag="record"):
    """A named tuple: its class and its fields in order."""

    kind: str
    fields: dict[str, Leaf | Record | Items]


class Items(_Strict, frozen=True, tag="items"):
    """A tuple."""

    items: tuple[Leaf | Record | Items, ...]


Node = Leaf | Record | Items


class GridSpec(_Strict, frozen=True):
    """The fields of `Grid`."""

    point_cloud_range: tuple[float, float, float, float, float, float]
    voxel_size: tuple[float, float, float]
    head_stride: int


class ClassesSpec(_Strict, frozen=True):
    """The fields of `Classes`."""

    detection: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    segmentation: tuple[str, ...]


class Preprocessing(_Strict, frozen=True):
    """From points to pillars.

    Attributes:
        feature_names: of a point, in order.
        low: value of each feature that becomes 0 (m, m, m, intensity, s).
        high: value of each feature that becomes 1.
        points_per_pillar: M, the first points of a cell that are kept.
        max_pillars: V, the first cells that are kept; padding has coordinates -1, -1 and features 0.
        num_sweeps: sweeps that were merged into a cloud in training.
    """

    feature_names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    points_per_pillar: int
    max_pillars: int
    num_sweeps: int


class FileSpec(_Strict, frozen=True):
    """Size [bytes] and checksum of a file of the artefact."""

    size: int
    sha256: str


class Signature(_Strict, frozen=True):
    """All that a user of the exported network must know.

    Attributes:
        format: layout version.
        inputs: of the network, in order: features (1, 5, M, V), coords (1, V, 2).
        canvas: input of the network behind the scatter: stored codes (1, H, W, C).
        outputs: in order.
        structure: by task name, how outputs form the network's result.
        grid: range and resolution.
        classes: what labels and channels mean.
        preprocessing: points to pillars.
        scheme: number formats.
        scales: float or pow2.
        files: the other files of the artefact, by name.
        checksum: SHA-256 of the signature itself with this field empty.
    """

    format: int
    inputs: tuple[TensorSpec, ...]
    canvas: TensorSpec
    outputs: tuple[TensorSpec, ...]
    structure: dict[str, Leaf | Record | Items]
    grid: GridSpec
    classes: ClassesSpec
    preprocessing: Preprocessing
    scheme: str
    scales: str
    files: dict[str, FileSpec] = {}
    checksum: str = ""

    def build_grid(self) -> Grid:
        """The grid; raises ConfigError when its numbers make none."""
        return Grid(self.grid.point_cloud_range, self.grid.voxel_size, self.grid.head_stride)

    def build_classes(self) -> Classes:
        """The classes; raises ConfigError when groups and classes do not match."""
        return Classes(self.classes.detection, self.classes.groups, self.classes.segmentation)

    def net_output(self, tensors: Mapping[str, Tensor]) -> NetOutput:
        """The network's result from its output tensors by name."""
        return {task: _rebuild(node, tensors) for task, node in self.structure.items()}


def describe(output: NetOutput) -> tuple[dict[str, Node], list[tuple[str, Tensor]]]:
    """Structure of a network's result, and its tensors by name in order.

    A tensor is named after the path that leads to it: task, index in a tuple, field of a named tuple; the field is
    left out where it is the only one.

    Args:
        output: what the network returned.

    Example:
        >>> import torch
        >>> describe({"segmentation": SegmentationOutput(torch.zeros(1))})[1][0][0]
        'segmentation'
    """
    tensors: list[tuple[str, Tensor]] = []
    return {task: _describe(part, task, tensors) for task, part in output.items()}, tensors


def encode_signature(signature: Signature) -> bytes:
    """JSON text, with its own checksum filled in."""
    sealed = msgspec.structs.replace(signature, checksum=_checksum(signature))
    return msgspec.json.format(msgspec.json.encode(sealed), indent=1) + b"\n"


def decode_signature(data: bytes) -> Signature:
    """Reads what `encode_signature` wrote.

    Raises:
        ArtefactError: it is damaged, altered, of another version, or contradicts itself.
    """
    try:
        signature = msgspec.json.decode(data, type=Signature)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtefactError(f"signature.json is damaged ({error}); export the network again") from error
    if signature.format != FORMAT:
        raise ArtefactError(f"signature.json has version {signature.format}, expected {FORMAT}; export again")
    if signature.checksum != _checksum(signature):
        raise ArtefactError("signature.json was altered: it does not fit its own checksum; export the network again")
    problem = next(_contradictions(signature), None)
    if problem:
        raise ArtefactError(f"signature.json contradicts itself: {problem}; export the network again")
    return signature


def _checksum(signature: Signature) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(signature, checksum=""))).hexdigest()


def _contradictions(signature: Signature) -> Iterator[str]:
    names = [spec.name for spec in signature.outputs]
    leaves = [name for node in signature.structure.values() for name in _leaves(node)]
    specs = (*signature.inputs, signature.canvas, *signature.outputs)
    if [spec.name for spec in signature.inputs] != [FEATURES, COORDS]:
        yield f"the inputs are {[spec.name for spec in signature.inputs]}"
    if len(set(names)) != len(names) or not names:
        yield "outputs are missing or share a name"
    if leaves != names:
        yield "the structure does not list the outputs in their order"
    if any(size < 1 for spec in specs for size in spec.shape):
        yield "a tensor has no elements"
    if not all(math.isfinite(value) for value in (*signature.preprocessing.low, *signature.preprocessing.high)):
        yield "a number of the preprocessing is not finite"
    try:
        signature.build_grid()
        signature.build_classes()
    except (ConfigError, OverflowError, ValueError) as error:
        yield str(error)


def _describe(value: Any, name: str, tensors: list[tuple[str, Tensor]]) -> Node:
    if isinstance(value, Tensor):
        tensors.append((name, value))
        return Leaf(name)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        only = len(value._fields) == 1
        fields = zip(value._fields, value, strict=True)
        parts = {field: _describe(part, name if only else f"{name}.{field}", tensors) for field, part in fields}
        return Record(type(value).__name__, parts)
    if isinstance(value, tuple | list):
        return Items(tuple(_describe(part, f"{name}.{index}", tensors) for index, part in enumerate(value)))
    raise ConfigError(f"output {name} is a {type(value).__name__}; heads must return tensors in (named) tuples")


def _rebuild(node: Node, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(node, Leaf):
        return tensors[node.name]
    if isinstance(node, Items):
        return tuple(_rebuild(item, tensors) for item in node.items)
    parts = {field: _rebuild(part, tensors) for field, part in node.fields.items()}
    known = _RECORDS.get(node.kind)
    if known is not None and known._fields == tuple(parts):
        return known(**parts)
    return namedtuple(node.kind, parts, rename=True)(*parts.values())


def _leaves(node: Node) -> Iterator[str]:
    if isinstance(node, Leaf):
        yield node.name
        return
    for part in node.items if isinstance(node, Items) else node.fields.values():
        yield from _leaves(part)
