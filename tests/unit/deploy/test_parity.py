from __future__ import annotations

import copy
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lidar_mt.config import compose, instantiate
from lidar_mt.data.point_file import read_point_file
from lidar_mt.deploy.parity import Comparison, Report
from lidar_mt.deploy.parity_tables import content, full_text, summary, verdict
from lidar_mt.deploy.runtimes.loading import load_runtime
from lidar_mt.deploy.trace import Form, IntegerForm, OnnxForm, RuntimeForm, TorchForm, Trace
from lidar_mt.metrics.json_files import nan_to_none
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.quantization.modules import Settings
from lidar_mt.quantization.spec import build_scheme
from lidar_mt.structures.errors import ArtefactError
from tests.helpers.artefacts import exported, parts, trained
from tests.helpers.networks import COARSE
from tests.helpers.quantized import float_net, pillars
from tests.helpers.tables import printed

REAL = os.environ.get("LIDAR_MT_NUSCENES")


def tasks() -> dict[str, object]:
    return {name: instantiate(node) for name, node in compose("evaluate", [COARSE]).task.items()}


def compare(a: Form, b: Form, frames: tuple[object, ...] = (), with_tasks: bool = False) -> Report:
    voxelizer, classes = parts()
    comparison = Comparison(a, b, tasks() if with_tasks else {}, voxelizer.grid, classes)
    for frame in frames or (pillars(batch_size=1), pillars(seed=5, batch_size=1)):
        comparison.add(frame)
    return comparison.report("first", "second")


def real_form() -> TorchForm:
    return TorchForm(QuantizedMultiTaskNet(float_net(), Settings(build_scheme("u8", "float"))))


def damaged(layer: str, by: int = 3) -> IntegerForm:
    """The exported network with other biases in one convolution."""
    artefact = exported()
    steps = [replace(s, bias=s.bias + np.int32(by << 12)) if s.name == layer else s for s in artefact.graph.steps]
    return IntegerForm(replace(artefact, graph=replace(artefact.graph, steps=tuple(steps))))


@pytest.mark.parametrize(("scheme", "scales"), [("u8", "float"), ("s8_affine", "pow2")])
def test_evaluation_while_training_is_the_integer_network(scheme: str, scales: str) -> None:
    report = compare(TorchForm(trained(scheme, scales)), IntegerForm(exported(scheme, scales)), with_tasks=True)
    assert report.equal
    assert (report.frames, len(report.outputs), len(report.layers)) == (2, 37, 171)
    assert not report.only_a
    assert not report.only_b
    assert all(layer.differing_codes == 0 for layer in report.layers.values())
    boxes, cells = report.decoded["detection"], report.decoded["segmentation"]
    assert boxes.matched == boxes.boxes_a == boxes.boxes_b > 0
    assert boxes.max_score == cells.differing == 0
    assert verdict(report) == "equal: no value differs in 171 layers and 37 outputs"
    assert "Layers: all 171 equal" in printed(summary(report))


def test_a_form_that_shows_no_layer_is_told() -> None:
    shown, outputs_alone = IntegerForm(exported()), RuntimeForm(load_runtime("integer", exported()))
    report = compare(shown, outputs_alone)
    nothing = "; a and b show no layer in common, so none was compared"
    assert verdict(report) == f"equal: no value differs in 37 outputs{nothing}"
    other = compare(damaged("backbone.stem.conv"), outputs_alone)
    assert verdict(other) == f"different: {len(other.unequal_outputs)} of 37 outputs{nothing}"
    assert other.unequal_outputs


def test_the_first_layer_that_differs_is_named() -> None:
    layer = "backbone.levels.level3.1.expand.conv"
    report = compare(TorchForm(trained()), damaged(layer), with_tasks=True)
    assert not report.equal
    assert report.unequal_layers[0] == layer
    before = list(report.layers)[: list(report.layers).index(layer)]
    assert all(report.layers[name].equal for name in before)
    found = report.layers[layer]
    assert found.differing_codes
    assert found.max_code
    counted = sum(each.differing_codes or 0 for each in report.layers.values())
    assert verdict(report).endswith(f"; {counted:,} codes differ")
    text = full_text(report)
    (line,) = (line.split() for line in text.splitlines() if line.startswith(layer))
    assert line[1:4] == [str(found.count), str(found.differing_codes), str(found.max_code)]
    assert sum(line.startswith("detection.") for line in text.splitlines()) == 36
    plain = json.loads(json.dumps(nan_to_none(content(report)), allow_nan=False))
    assert [row["name"] for row in plain["layers"]] == list(report.layers)
    assert not plain["equal"]
    assert plain["outputs"][0]["unit"] == "logit"
    assert set(plain["decoded"]["detection"]) >= {"boxes_a", "matched", "mean_score", "match_m"}


def test_float_against_codes_has_its_error_split() -> None:
    report = compare(real_form(), IntegerForm(exported()))
    stem = report.layers["backbone.stem.conv"]
    assert stem.differing_codes is None
    assert stem.lsb == pytest.approx(exported().graph.codes_of()["backbone.stem.conv"].scale)
    assert 0.2 < stem.rounding_rms < 0.3
    assert report.layers["encoder.input"].inherited_rms == 0, "nothing comes before it"
    shown = printed(summary(report))
    assert "clipped %" in shown
    assert "the worst 8 of 171, 171 differ" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


class Given(Form):
    """Outputs that a test made up, with the shapes of the network's."""

    def __init__(self, **changes: torch.Tensor) -> None:
        self.output = copy.deepcopy(TorchForm(trained()).trace(pillars(batch_size=1)).output)
        group = self.output["detection"][3]
        self.output["detection"] = (
            *self.output["detection"][:3],
            group._replace(**changes),
            *self.output["detection"][4:],
        )

    def trace(self, _: object) -> Trace:
        return Trace({}, self.output)


def test_offsets_are_in_metres_and_objects_are_where_a_is_sure() -> None:
    heatmap = torch.full((1, 1, 16, 16), -5.0)
    heatmap[0, 0, 2, 3] = 4.0
    low, high = torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16, 16)
    high[:] = torch.tensor([0.5, 0.25]).view(1, 2, 1, 1)
    high[0, :, 2, 3] = torch.tensor([0.125, 0.0])
    report = compare(Given(heatmap=heatmap, reg=low), Given(heatmap=heatmap, reg=high), (None,))
    rows = {row.name: row for row in report.outputs}
    row = rows["detection.3.reg"]
    size_m = parts()[0].grid.head_cell_size[0]
    assert (row.unit, row.group) == ("m", "barrier")
    assert row.difference.max_abs == pytest.approx(0.5 * size_m)
    assert row.difference.mean_abs == pytest.approx(size_m * (255 * 0.75 + 0.125) / 512)
    assert row.at_objects.count == 2
    assert row.at_objects.max_abs == pytest.approx(0.125 * size_m)
    assert rows["segmentation"].at_objects is None
    assert [r.unit for r in report.outputs[1:7]] == ["m", "m", "log m", "", "m/s", "logit"]
    assert rows["detection.5.heatmap"].group == "pedestrian, traffic_cone"


def test_what_can_be_drawn_is_that_of_the_two_forms() -> None:
    voxelizer, classes = parts()
    comparison = Comparison(real_form(), IntegerForm(exported()), tasks(), voxelizer.grid, classes)
    frame = comparison.add(pillars(batch_size=1))
    output = TorchForm(trained()).trace(pillars(batch_size=1)).output
    right = torch.cat([group.heatmap for group in output["detection"]], dim=1)[0].amax(dim=0).sigmoid()
    torch.testing.assert_close(frame.heatmap[1], right)
    assert torch.equal(frame.labels[1], tasks()["segmentation"].decode(output["segmentation"])[0])
    assert not torch.equal(frame.heatmap[0], frame.heatmap[1])


def test_networks_with_other_outputs_are_refused() -> None:
    other = Given()
    del other.output["segmentation"]
    with pytest.raises(ArtefactError, match=r"other outputs: \['segmentation'\]"):
        compare(TorchForm(trained()), other)
    with pytest.raises(ArtefactError, match=r"detection\.3\.vel: cannot compare .* \(1, 2, 8, 8\)"):
        compare(TorchForm(trained()), Given(vel=torch.zeros(1, 2, 8, 8)), (pillars(batch_size=1),))


@pytest.mark.nuscenes
@pytest.mark.skipif(not REAL, reason="LIDAR_MT_NUSCENES is not set")
@pytest.mark.parametrize("scales", ["float", "pow2"])
def test_the_bars_hold_on_real_frames(scales: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    paths = sorted((Path(REAL or "") / "samples/LIDAR_TOP").glob("*.pcd.bin"))[:3]
    frames = tuple(parts()[0].eval()([torch.from_numpy(read_point_file(path))]) for path in paths)
    assert len(frames) == 3
    artefact = exported("u8", scales)
    integer = IntegerForm(artefact)
    assert compare(TorchForm(trained("u8", scales)), integer, frames).equal
    runtime = load_runtime("onnxruntime", artefact)
    if runtime.exact:
        report = compare(integer, OnnxForm(runtime, artefact), frames)
        assert report.equal, report.unequal_layers
        assert len(report.layers) == 168
    pytest.importorskip("openvino")
    close = compare(integer, RuntimeForm(load_runtime("openvino", artefact)), frames)
    assert sum(row.difference.sqnr_db >= 35 for row in close.outputs) >= 36  # see the runtimes' own tests
