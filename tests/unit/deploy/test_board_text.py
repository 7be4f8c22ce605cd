from __future__ import annotations

import msgspec
import pytest

from lidar_mt.deploy.board_report import BoardReport, CpuOperator, Layer
from lidar_mt.deploy.board_text import WIDTH, bound_rows, describe_report, notes, slowest_rows, total_rows
from lidar_mt.deploy.devices import DEVICES
from tests.unit.deploy.test_board_report import LEFT, report


def with_cpu_layer() -> BoardReport:
    one = report(
        1.0, 2.0, left=(LEFT, CpuOperator("Conv2D", "out2", "no floats"), CpuOperator("Add", "sum", "why not"))
    )
    return msgspec.structs.replace(one, layers=(*one.layers, Layer("out", "Passthrough", "cpu", 0.0, 4 * 10**7)))


def test_the_text_says_what_is_a_bound_and_what_a_frame_is() -> None:
    text = describe_report(report(1.0, 2.0))
    assert text.startswith("target t: 3.00 ms a frame behind the canvas (estimate), 1.00 GMAC\n")
    said = " ".join(text.split())
    assert "Voxelizer, pillar encoder, scatter and decoding run on the host and are in no figure here" in said
    assert "Roofline: all 1.00 GMAC behind the canvas" in said
    assert "none of these is a measurement" in said
    assert all(device.title in said and device.source in said for device in DEVICES.values())
    assert "DRAM traffic MB: 1,234" in text
    assert "fused" not in text


def test_a_measured_network_tells_what_ran_in_which_precision() -> None:
    layers = (
        Layer("a", "Conv", "int8", 6.0, 0),
        Layer("b", "Resize", "float", 1.0, 0),
        Layer("c", "Conv", "int8", 3.0, 0),
    )
    one = msgspec.structs.replace(report(1.0), nature="measured", layers=layers)
    assert "Steps: 2 int8 (90% of the time), 1 float (10% of the time)." in notes(one)
    assert not [note for note in notes(report(1.0)) if note.startswith("Steps")]


def test_what_is_left_to_the_processor_is_in_no_time() -> None:
    text = describe_report(with_cpu_layer())
    head = "target t: 3.00 ms a frame behind the canvas without 3 operators left to the processor (estimate), "
    assert text.startswith(head + "0.96 of 1.00 GMAC\n")
    assert "operators left to the processor: 3\n  2 Conv2D (no floats): out, out2\n  1 Add (why not): sum\n" in text
    assert "MAC use counts the accelerator's own 0.96 GMAC" in " ".join(text.split())
    (line,) = (line for line in text.splitlines() if line.startswith("out "))
    assert line.split()[:4] == ["out", "cpu", "-", "-"], "0 ms would be a time"
    assert "operators left to the processor: none" in describe_report(report(1.0))
    assert "left to the processor" not in describe_report(report(1.0, left=None)), "it is the processor"


@pytest.mark.parametrize(("nature", "more"), [("estimate", "theirs."), ("measured", "took less than the clock tells.")])
def test_no_time_is_explained(nature: str, more: str) -> None:
    one = msgspec.structs.replace(report(1.0, 0.0), nature=nature)
    assert notes(one)[-1].startswith("Layers of 0.000 ms were fused")
    assert notes(one)[-1].endswith(more)
    only_cpu = msgspec.structs.replace(one, layers=with_cpu_layer().layers)
    assert not any(note.startswith("Layers of 0.000 ms") for note in notes(only_cpu))


def test_a_flagged_layer_is_told() -> None:
    assert "! layer0 alone takes 34% of the time" in describe_report(report(3.1, 2.0, 2.0, 2.0))
    assert "no layer takes more than 30% of the time" in describe_report(report(3.0, 3.0, 2.0, 2.0))


def test_no_line_is_wider_than_a_screen() -> None:
    wide = Layer("a.name.of.a.layer" * 6, "Convolution, FakeQuantize " * 9, "int8", 9.0, 10**6)
    left = tuple(CpuOperator("Conv2D", f"detection.{i}.heatmap", "no int32 results") for i in range(37))
    one = report(1.0, left=left)
    one = msgspec.structs.replace(one, layers=(wide, *one.layers), hardware={"device": "so and so, " * 30})
    lines = describe_report(one).splitlines()
    assert max(map(len, lines)) == WIDTH == 160
    assert lines[-2].startswith(f"{wide.name[:69]}... int8 ")
    assert lines[-2].endswith("...!"), "the mark of a flagged layer stays"
    assert all(f"detection.{i}.heatmap" in " ".join(lines) for i in range(37))


def test_a_screen_shows_the_slowest_alone() -> None:
    text = describe_report(report(1.0, 6.0, 2.0), slowest=2)
    assert text.splitlines()[-4:-2] == ["the 2 slowest of 3 layers", text.splitlines()[-3]]
    assert [line.split()[0] for line in text.splitlines()[-2:]] == ["layer1", "layer2"]
    assert "sources of the bounds" not in text
    assert "slowest" not in describe_report(report(1.0, 6.0), slowest=2), "these are all"


def test_rows_for_a_page() -> None:
    one = report(1.0, 6.0, 2.0, left=(LEFT,))
    assert dict(total_rows(one)) == {
        "clock": "1 GHz",
        "DRAM traffic MB": "1,234",
        "cycles": "1,000,000",
        "operators left to the processor": "1 Conv2D (no floats): out",
    }
    assert dict(total_rows(report(1.0)))["operators left to the processor"] == "none"
    assert "operators left to the processor" not in dict(total_rows(report(1.0, left=None)))
    slowest = slowest_rows(one, 2)
    assert [row[:4] for row in slowest] == [
        ("layer1 !", "Conv2D", "6.000", "66.7%"),
        ("layer2", "Conv2D", "2.000", "22.2%"),
    ]
    assert slowest[0][6] == "50%"
    text = describe_report(one)
    for title, *times in bound_rows(one):
        (line,) = (line for line in text.splitlines() if line.startswith(f"  {title} "))
        assert line.split()[-2:] == times[-1].split()
        assert times[1] in line
