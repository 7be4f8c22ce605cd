from __future__ import annotations

import numpy as np
import pytest

from lidar_mt.deploy.runtimes.onnxruntime import open_session
from lidar_mt.deploy.unsigned import unsigned_graph
from tests.helpers.artefacts import expected, exported, inputs

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

# onnxruntime computes symmetric int8 codes in float, where scales that are no powers of two break ties in another way.
KINDS = [(scheme, scales) for scheme in ("u8", "s8_affine") for scales in ("float", "pow2")]
KINDS.append(("s8_symmetric", "pow2"))


def with_all_tensors(scheme: str, scales: str) -> tuple[bytes, dict[str, int]]:
    """The exported network with every tensor of codes as an output, and their zero points."""
    artefact = exported(scheme, scales)
    model = onnx.load_from_string(artefact.network)
    codes = unsigned_graph(artefact.graph).codes_of()
    for name, known in codes.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(known.form.dtype))
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return model.SerializeToString(), {name: known.form.zero_point for name, known in codes.items()}


def differing(scheme: str, scales: str, *, optimize: bool) -> dict[str, int]:
    """Number of codes that differ from the integer reference, by tensor, where there are any."""
    data, zero_points = with_all_tensors(scheme, scales)
    session = open_session(data, 1, optimize=optimize)
    features, coords = inputs()
    names = list(zero_points)
    found = session.run(names, {"features": features.numpy(), "coords": coords.numpy()})
    assert len(found) > 100
    truth = expected(scheme, scales)
    counts = {
        name: int((codes.astype(np.int64) - zero_points[name] != truth[name].numpy()).sum())
        for name, codes in zip(names, found, strict=True)
    }
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize(("scheme", "scales"), KINDS)
def test_every_tensor_has_the_codes_of_the_reference_with_all_optimizations(scheme: str, scales: str) -> None:
    assert differing(scheme, scales, optimize=True) == {}


@pytest.mark.parametrize("scheme", ["u8", "s8_affine"])
def test_powers_of_two_agree_without_optimizations_too(scheme: str) -> None:
    assert differing(scheme, "pow2", optimize=False) == {}


def test_only_standard_operators_and_full_shapes() -> None:
    artefact = exported()
    for data in (artefact.network, artefact.from_canvas, artefact.from_canvas_onnxruntime):
        model = onnx.load_from_string(data)
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 21)]
        assert {node.domain for node in model.graph.node} == {""}
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        shapes = {
            value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in inferred.graph.value_info
        }
        produced = {name for node in model.graph.node for name in node.output} - {v.name for v in model.graph.output}
        assert produced <= shapes.keys()
        assert all(size > 0 for shape in shapes.values() for size in shape)
        outputs = [(v.name, tuple(d.dim_value for d in v.type.tensor_type.shape.dim)) for v in model.graph.output]
        assert outputs == [(spec.name, spec.shape) for spec in artefact.signature.outputs]


def test_every_edge_between_operators_has_codes() -> None:
    """Between any two of these stands a quantization, so a runtime can compute all of them in integers."""
    model = onnx.load_from_string(exported().network)
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Add", "Concat", "Resize") and "scatter:cell" not in node.output:
            sources = {made_by[name] for name in node.input if name in made_by}
            assert sources == {"DequantizeLinear"}, node.name
