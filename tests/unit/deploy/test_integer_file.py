from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidar_mt.deploy.graph_check import check_graph
from lidar_mt.deploy.integer_file import decode_graph, encode_graph
from lidar_mt.quantization.integer_graph import Codes, Convolution, IntegerGraph, Step
from lidar_mt.quantization.spec import Format
from lidar_mt.structures.errors import ArtefactError
from tests.helpers.artefacts import exported, tiny_graph

DATA = encode_graph(tiny_graph())


def assert_same(one: IntegerGraph, other: IntegerGraph) -> None:
    assert (one.outputs, one.scheme, one.scales, one.inputs) == (
        other.outputs,
        other.scheme,
        other.scales,
        other.inputs,
    )
    assert [type(step) for step in one.steps] == [type(step) for step in other.steps]
    for a, b in zip(one.steps, other.steps, strict=True):
        for name, value in vars(a).items():
            found = getattr(b, name)
            if isinstance(value, np.ndarray):
                assert found.dtype == value.dtype
                assert found.shape == value.shape
                assert found.tobytes() == value.tobytes()
            else:
                assert found == value


@pytest.mark.parametrize("graph", [tiny_graph(), exported().graph], ids=["tiny", "network"])
def test_every_step_comes_back(graph: IntegerGraph) -> None:
    back = decode_graph(encode_graph(graph))
    assert_same(graph, back)
    assert encode_graph(back) == encode_graph(graph)


def test_arrays_can_be_written_to() -> None:
    (conv,) = [step for step in decode_graph(DATA).steps if step.name == "stem"]
    assert isinstance(conv, Convolution)
    assert conv.weight.flags.writeable


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_an_altered_byte_is_refused_or_gives_a_whole_graph(at: int, change: int) -> None:
    damaged = bytearray(DATA)
    damaged[at] ^= change
    try:
        graph = decode_graph(bytes(damaged))
    except ArtefactError:
        return
    assert encode_graph(graph)


@given(st.integers(0, len(DATA) - 1))
def test_a_part_is_refused(length: int) -> None:
    with pytest.raises(ArtefactError):
        decode_graph(DATA[:length])


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ArtefactError):
        decode_graph(data)


def test_depth_without_end_is_refused() -> None:
    with pytest.raises(ArtefactError):
        decode_graph(b"\x91" * 100_000)


def changed(at: str, /, **fields: object) -> IntegerGraph:
    graph = tiny_graph()
    steps: tuple[Step, ...] = tuple(
        replace(step, **fields) if step.name == at else step  # type: ignore[arg-type]
        for step in graph.steps
    )
    return replace(graph, steps=steps)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (changed("in", source="elsewhere"), "unknown source"),
        (changed("stem", source="nowhere"), "unknown source"),
        (changed("up", name="stem"), "name of another"),
        (changed("stem", groups=3), "groups out of range"),
        (changed("stem", stride=(0, 1)), "stride"),
        (changed("stem", padding=(-1, 0)), "padding"),
        (changed("stem", weight=np.zeros((4, 3, 3, 3), np.int8)), "channels"),
        (changed("stem", weight=np.zeros((4, 4), np.int8)), "shape"),
        (changed("stem", bias=np.zeros(3, np.int32)), "number of channels"),
        (changed("stem", weight_scale=np.full(4, np.nan, np.float32)), "not positive"),
        (changed("stem", codes=Codes(float("inf"), Format(0, 255, 0, "uint8"))), "scale"),
        (changed("stem", codes=Codes(0.0, Format(0, 255, 0, "uint8"))), "scale"),
        (changed("sum", codes=Codes(1.0, Format(0, 255, 0, "object"))), "type"),
        (changed("sum", codes=Codes(1.0, Format(0, 300, 0, "uint8"))), "does not hold"),
        (changed("cat", dim=7), "dimension"),
        (changed("pool", kernel=(0, 1)), "window"),
        (changed("scatter", coords="nowhere"), "coordinates"),
        (replace(tiny_graph(), outputs=("stem",)), "outputs"),
        (replace(tiny_graph(), outputs=()), "outputs"),
        (replace(tiny_graph(), outputs=("out", "out")), "outputs"),
    ],
)
def test_what_no_runtime_could_compute_is_refused(graph: IntegerGraph, says: str) -> None:
    with pytest.raises(ArtefactError, match=says):
        check_graph(graph)
    with pytest.raises(ArtefactError, match=says):
        decode_graph(encode_graph(graph))


def edited(change: object) -> bytes:
    content = msgspec.msgpack.decode(DATA)
    change(content)  # type: ignore[operator]
    return msgspec.msgpack.encode(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(magic="lidar_mt integer graph 2"),
        lambda c: c["steps"][1].__setitem__(0, "Evaluate"),
        lambda c: c["steps"][1][1].pop("relu"),
        lambda c: c["steps"][1][1].update(more=1),
        lambda c: c["steps"][1][1].update(stride=[1, 1, 1]),
        lambda c: c["steps"][1][1].update(stride=[1, "1"]),
        lambda c: c["steps"][1][1]["weight"].update(dtype="|O"),
        lambda c: c["steps"][1][1]["weight"].update(dtype="<f8"),
        lambda c: c["steps"][1][1]["weight"].update(shape=[2**40, 2**40]),
        lambda c: c["steps"][1][1]["weight"].update(shape=[-4, -5, 1, 1]),
        lambda c: c["steps"][1][1]["weight"].update(data=b""),
        lambda c: c["steps"][1][1].update(weight=[1, 2, 3]),
        lambda c: c.update(more=1),
    ],
)
def test_another_layout_is_refused(change: object) -> None:
    with pytest.raises(ArtefactError):
        decode_graph(edited(change))
