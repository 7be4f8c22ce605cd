from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lidar_mt.deploy.signature import TensorSpec
from lidar_mt.deploy.tflite_writer import write_tflite
from lidar_mt.quantization.integer_graph import Add, Codes, Concat, Convolution, IntegerGraph, Quantize, Step, Upsample
from lidar_mt.quantization.integer_reference import IntegerReference
from lidar_mt.quantization.spec import Format
from lidar_mt.structures.errors import ConfigError
from tests.helpers import slow_integer
from tests.helpers.artefacts import expected, exported, inputs, tiny_graph

for _package in ("tflite", "ai_edge_litert"):
    pytest.importorskip(_package)
litert_codes = pytest.importorskip("tests.helpers.litert_codes")

POSITIVE, SIGNED = Format(0, 255, 0, "uint8"), Format(-128, 127, 128, "uint8")
SYMMETRIC = Format(0, 127, 0, "int8")
CHANNELS, ROWS, COLUMNS = 6, 7, 10


def differing(scheme: str, scales: str) -> dict[str, int]:
    """Number of codes that differ from the integer reference, by tensor."""
    features, coords = inputs()
    found = litert_codes.run(exported(scheme, scales).graph, {"features": features.numpy(), "coords": coords.numpy()})
    right = {name: value.numpy() for name, value in expected(scheme, scales).items()}
    assert len(found) > 200  # all convolutions and sums, and the results
    return {name: int((values != right[name]).sum()) for name, values in found.items()}


@pytest.mark.parametrize(
    "scheme", ["u8", *(pytest.param(name, marks=pytest.mark.slow) for name in ("s8_affine", "s8_symmetric"))]
)
def test_litert_computes_every_tensor_of_a_network_to_the_bit(scheme: str) -> None:
    assert not any(differing(scheme, "pow2").values())


def test_the_form_for_boards_has_the_same_codes() -> None:
    """Its layers in tiles of 16 channels, and the copy of the canvas."""
    graph, right = exported("u8", "pow2").graph, expected("u8", "pow2")
    canvas = (right["scatter"].numpy().transpose(0, 2, 3, 1) - 128).astype(np.int8)
    found = litert_codes.run(graph, {"canvas": canvas}, from_canvas=True, tiled=True)
    assert len(found) > 200
    for name, values in found.items():
        np.testing.assert_array_equal(values, right[name].numpy(), err_msg=name)


def test_with_float_scales_only_sums_round_in_another_way() -> None:
    """Each step is fed what the reference computed before it."""
    graph = exported("u8", "float").graph
    right = {name: value.numpy() for name, value in expected("u8", "float").items()}
    adds = [step for step in graph.steps if isinstance(step, Add)]
    share = []
    for step in adds:
        codes = graph.codes_of()
        first, second = (feed(name, right[name], codes[name]) for name in (step.first, step.second))
        wrong = litert_codes.run(*sum_of(step, first, second))[step.name] - right[step.name]
        assert abs(wrong).max() <= 1
        share.append(np.mean(wrong != 0))
    assert max(share) < 1e-2
    found = differing("u8", "float")
    until = [step.name for step in graph.steps].index(adds[0].name)
    assert not any(found[step.name] for step in graph.steps[:until] if step.name in found)


def feed(name: str, codes: np.ndarray, form: Codes) -> tuple[Quantize, np.ndarray]:
    return Quantize(name, f"real:{name}", form), codes.astype(np.float32) * np.float32(form.scale)


def sum_of(step: Add, first: tuple, second: tuple) -> tuple[IntegerGraph, dict[str, np.ndarray]]:
    """A graph of the sum alone; the result of a network must be real."""
    channels = first[1].shape[1]
    steps = (first[0], second[0], step, conv("out", step.name, (1, channels, 1, 1), None))
    fed = {source.source: values for source, values in (first, second)}
    return IntegerGraph(steps, ("out",), "u8", "float", tuple(fed)), fed


def conv(name: str, source: str, shape: tuple[int, ...], codes: Codes | None, **changes: object) -> Convolution:
    rng = np.random.default_rng(len(name))
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    scale = np.exp2(rng.integers(-8, -6, shape[0])).astype(np.float32)
    bias = rng.integers(-999, 999, shape[0]).astype(np.int32)
    step = Convolution(name, source, weight, scale, bias, (1, 1), (0, 0), (1, 1), 1, False, codes)
    return replace(step, **changes)


def check(*steps: Step, seed: int = 0) -> None:
    """Compares all tensors of a graph that starts with quantized features of 6 channels and 7 x 10 cells."""
    last = steps[-1].name
    end = conv("end", last, (2, channels_of(steps, last), 1, 1), None)
    begin = Quantize("in", "features", Codes(1.0, SIGNED))
    graph = IntegerGraph((begin, *steps, end), ("end",), "u8", "pow2", ("features",))
    features = np.random.default_rng(seed).integers(-140, 140, (1, CHANNELS, ROWS, COLUMNS)).astype(np.float32)
    right = slow_integer.run(graph, {"features": features})
    found = litert_codes.run(graph, {"features": features})
    assert found.keys() == {step.name for step in graph.steps}
    for name, values in found.items():
        np.testing.assert_array_equal(values, right[name], err_msg=name)


def channels_of(steps: tuple[Step, ...], name: str) -> int:
    step = next((step for step in steps if step.name == name), None)
    if isinstance(step, Convolution):
        return len(step.weight)
    if isinstance(step, Concat):
        return sum(channels_of(steps, source) for source in step.sources)
    return CHANNELS if step is None else channels_of(steps, step.first if isinstance(step, Add) else step.source)


@pytest.mark.parametrize(
    "changes",
    [
        {"stride": (2, 2), "padding": (1, 1)},  # 7 rows pad as TFLite does, 10 columns do not
        {"stride": (2, 1), "padding": (1, 1)},
        {"padding": (1, 1)},
        {"padding": (0, 1)},
        {"padding": (2, 2)},
        {"padding": (2, 2), "dilation": (2, 2)},
        {"stride": (3, 2), "dilation": (1, 2), "padding": (1, 0)},
    ],
)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_convolutions(changes: dict, groups: int) -> None:
    for form in (SIGNED, POSITIVE, SYMMETRIC):
        check(conv("conv", "in", (12, CHANNELS // groups, 3, 3), Codes(64.0, form), groups=groups, **changes))


@pytest.mark.parametrize("out", [SIGNED, POSITIVE, SYMMETRIC])
@pytest.mark.parametrize(
    ("first", "second", "scale"),
    [
        (1, 1, 1),
        (1, 1, 2),
        (0.25, 2, 4),
        (8, 0.125, 2),
        (1, 64, 128),
        (2, 2, 1),
        (32, 0.25, 8),
        (0.5, 256, 64),
        (0.5, 2, 1),
        (4, 0.25, 1),
    ],
)
def test_sums(first: float, second: float, scale: float, out: Format) -> None:
    """Half of the codes are ties where the result is coarser than a part."""
    for forms in ((SIGNED, SIGNED), (POSITIVE, SIGNED), (SIGNED, POSITIVE)):
        check(
            conv("a", "in", (CHANNELS, CHANNELS, 1, 1), Codes(first, forms[0])),
            conv("b", "in", (CHANNELS, CHANNELS, 1, 1), Codes(second, forms[1])),
            Add("sum", "a", "b", Codes(scale, out)),
        )


@pytest.mark.parametrize("form", [SIGNED, POSITIVE, SYMMETRIC])
def test_concat_and_upsample(form: Format) -> None:
    check(
        conv("a", "in", (5, CHANNELS, 1, 1), Codes(1.0, form)),
        conv("b", "in", (3, CHANNELS, 3, 3), Codes(0.25, SIGNED), padding=(1, 1)),
        Concat("cat", ("a", "b", "in"), 1, Codes(2.0, form)),
        Upsample("up", "cat"),
        Upsample("again", "up"),
    )


def test_the_pillar_encoder_and_the_scatter() -> None:
    """Padding lies nowhere, cells without a pillar hold zero, the last and the first cell are cells too."""
    graph = tiny_graph()
    steps = tuple(
        replace(step, weight_scale=np.full(len(step.weight), 2.0**-6, np.float32))
        if isinstance(step, Convolution)
        else step
        for step in graph.steps
    )
    graph = replace(graph, steps=steps, scales="pow2")
    features = np.random.default_rng(0).random((1, 5, 3, 6), np.float32)
    coords = np.array([[[0, 0], [3, 3], [-1, -1], [1, 2], [2, 1], [-1, -1]]])
    right = IntegerReference(graph).run({"features": torch.from_numpy(features), "coords": torch.from_numpy(coords)})
    for name, values in litert_codes.run(graph, {"features": features, "coords": coords}).items():
        np.testing.assert_array_equal(values, right[name].numpy(), err_msg=name)


def test_the_same_graph_gives_the_same_bytes() -> None:
    one = exported("u8", "pow2")
    again = write_tflite(one.graph, (one.signature.canvas,), one.signature.outputs, from_canvas=True)
    assert again == one.tflite_from_canvas


def test_the_boards_results_are_whole_accumulators() -> None:
    tflite = pytest.importorskip("tflite")
    one = exported("u8", "pow2")
    graph = tflite.Model.GetRootAs(one.tflite_for_board, 0).Subgraphs(0)
    results = [graph.Tensors(int(index)) for index in graph.OutputsAsNumpy()]
    assert [tensor.Name().decode() for tensor in results] == [spec.name for spec in one.signature.outputs]
    assert {tensor.Type() for tensor in results} == {tflite.TensorType.INT32}
    assert {graph.Tensors(i).Type() for i in range(graph.TensorsLength())} == {
        tflite.TensorType.INT8,
        tflite.TensorType.INT32,
    }
    codes = one.graph.codes_of()
    steps = {step.name: step for step in one.graph.steps}
    for tensor, name in zip(results, one.graph.outputs, strict=True):
        step = steps[name]
        assert isinstance(step, Convolution)
        ratios = np.float32(codes[step.source].scale) * step.weight_scale / tensor.Quantization().Scale(0)
        np.testing.assert_array_equal(ratios, np.rint(ratios))


def test_what_has_no_place_is_named() -> None:
    graph = tiny_graph()
    spec = [TensorSpec("out", "float32", (1, 2, 4, 4))]
    features = [TensorSpec("features", "float32", (1, 5, 3, 6)), TensorSpec("coords", "int64", (1, 6, 2))]
    wide = Codes(1.0, Format(0, 2**15 - 1, 0, "int16"))
    steps = (replace(graph.steps[0], codes=wide), *graph.steps[1:])
    with pytest.raises(ConfigError, match="8-bit codes, but in has int16"):
        write_tflite(replace(graph, steps=steps), features, spec)
    with pytest.raises(ConfigError, match="no scatter"):
        write_tflite(replace(graph, steps=graph.steps[:2]), features[:1], spec, from_canvas=True)
