from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lidar_mt.deploy.pillar_codes import PillarCodes
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.quantization.integer_reference import IntegerReference
from lidar_mt.structures.errors import ArtefactError
from tests.helpers.artefacts import exported
from tests.helpers.quantized import PADDED, pillars


@pytest.mark.parametrize(("scheme", "scales"), [("u8", "float"), ("s8_affine", "pow2"), ("s8_symmetric", "float")])
def test_the_canvas_is_that_of_the_reference(scheme: str, scales: str) -> None:
    graph = exported(scheme, scales).graph
    features, coords = to_dense(pillars(), PADDED)
    centred = IntegerReference(graph).run({"features": features, "coords": coords})["scatter"]
    canvas = PillarCodes(graph).canvas(pillars())
    known = graph.codes_of()["scatter"].form
    assert str(canvas.dtype) == f"torch.{known.dtype}"
    assert centred.count_nonzero() > 1000
    assert torch.equal(canvas.permute(0, 3, 1, 2).float() - known.zero_point, centred)


def test_another_start_is_refused() -> None:
    graph = exported().graph
    with pytest.raises(ArtefactError, match="pillar encoder"):
        PillarCodes(replace(graph, steps=graph.steps[1:]))
