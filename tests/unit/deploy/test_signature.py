from __future__ import annotations

import json
from typing import NamedTuple

import msgspec
import pytest
import torch

from lidar_mt.deploy.signature import Signature, decode_signature, describe, encode_signature
from lidar_mt.structures.errors import ArtefactError, ConfigError
from lidar_mt.structures.outputs import GroupOutput, SegmentationOutput
from tests.helpers.artefacts import exported


class Own(NamedTuple):
    first: torch.Tensor
    second: tuple[torch.Tensor, ...]


def signature() -> Signature:
    return exported().signature


def test_names_follow_the_structure() -> None:
    names = [spec.name for spec in signature().outputs]
    fields = ["reg", "height", "dim", "rot", "vel", "heatmap"]
    assert names == ["segmentation", *(f"detection.{group}.{field}" for group in range(6) for field in fields)]
    assert [spec.shape for spec in signature().outputs[:3]] == [(1, 2, 16, 16), (1, 2, 16, 16), (1, 1, 16, 16)]
    assert [(spec.name, spec.shape) for spec in signature().inputs] == [
        ("features", (1, 5, 20, 240)),
        ("coords", (1, 240, 2)),
    ]


def test_a_result_is_rebuilt_as_it_was() -> None:
    maps = GroupOutput(*torch.arange(6).float())
    output = {
        "segmentation": SegmentationOutput(torch.ones(2)),
        "detection": (maps, maps),
        "own": Own(torch.zeros(1), (torch.ones(1), torch.ones(3))),
    }
    structure, tensors = describe(output)
    assert [name for name, _ in tensors][-3:] == ["own.first", "own.second.0", "own.second.1"]
    built = msgspec.structs.replace(signature(), structure=structure).net_output(dict(tensors))
    assert isinstance(built["segmentation"], SegmentationOutput)
    assert isinstance(built["detection"][1], GroupOutput)
    assert built["detection"][1].vel is maps.vel
    assert built["own"].second[1] is output["own"].second[1]


def test_a_result_of_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="detection is a dict"):
        describe({"detection": {"a": torch.zeros(1)}})


def test_it_comes_back_and_builds_grid_and_classes() -> None:
    back = decode_signature(encode_signature(signature()))
    assert msgspec.structs.replace(back, checksum="") == signature()
    assert back.build_grid().shape == (64, 64)
    assert back.build_classes().groups[1] == ("truck", "construction_vehicle")
    low, high = back.preprocessing.low, back.preprocessing.high
    assert (low[0], low[2], low[3], high[3], high[4]) == (-51.2, -5.0, 0.0, 255.0, 1.0)


def sealed(**fields: object) -> bytes:
    return encode_signature(msgspec.structs.replace(signature(), **fields))


def tensor(index: int, **fields: object) -> tuple[object, ...]:
    outputs = list(signature().outputs)
    outputs[index] = msgspec.structs.replace(outputs[index], **fields)
    return tuple(outputs)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"format": 2}, "version 2"),
        ({"inputs": signature().inputs[::-1]}, "inputs"),
        ({"outputs": signature().outputs[::-1]}, "order"),
        ({"outputs": ()}, "outputs"),
        ({"outputs": tensor(3, name="segmentation")}, "share a name"),
        ({"outputs": tensor(3, shape=(1, 0, 4, 4))}, "no elements"),
        ({"grid": msgspec.structs.replace(signature().grid, voxel_size=(0.0, 1.0, 8.0))}, "grid"),
        ({"grid": msgspec.structs.replace(signature().grid, voxel_size=(1e-300, 1.0, 8.0))}, "contradicts"),
        ({"classes": msgspec.structs.replace(signature().classes, detection=("car",))}, "classes"),
    ],
)
def test_contradictions_are_refused_though_the_checksum_fits(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ArtefactError, match=says):
        decode_signature(sealed(**fields))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(scheme="s8_affine"),
        lambda c: c["preprocessing"].update(max_pillars=241),
        lambda c: c.pop("grid"),
        lambda c: c.update(more=1),
        lambda c: c["outputs"][0].update(dtype="complex64"),
        lambda c: c["outputs"][0].update(shape=[1, "2"]),
        lambda c: c.update(structure={"segmentation": {"type": "code", "name": "x"}}),
    ],
)
def test_an_altered_text_is_refused(change: object) -> None:
    content = json.loads(encode_signature(signature()))
    change(content)
    with pytest.raises(ArtefactError, match=r"signature\.json"):
        decode_signature(json.dumps(content).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"structure":' + b'{"a":' * 100_000])
def test_what_is_no_signature_is_refused(data: bytes) -> None:
    with pytest.raises(ArtefactError, match="damaged"):
        decode_signature(data)
