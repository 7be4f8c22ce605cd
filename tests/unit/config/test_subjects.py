from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.helpers.artefacts import parts

from lidar_mt.config.subjects import Subject, check_same, locate
from lidar_mt.deploy.artefact import SIGNATURE
from lidar_mt.deploy.trace import Form, Trace
from lidar_mt.models.voxelizer import Voxelizer
from lidar_mt.parity import shared_arguments
from lidar_mt.structures.errors import ArtefactError, CheckpointError, ConfigError
from lidar_mt.structures.grid import Grid


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Empty files in the place of what is only found, not opened."""
    for name in ("qat-best.ckpt", "float-best.previous.ckpt", "mine.ckpt", f"int8/{SIGNATURE}", f"a:b/{SIGNATURE}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_names_and_what_they_stand_for(published: Path) -> None:
    def found(name: str) -> tuple[str, str | None]:
        place = locate("a", name, published)
        return str(place.path.relative_to(published)), place.runtime

    assert found("qat") == ("qat-best.ckpt", None)
    assert found("float") == ("float-best.ckpt", None)  # the one before it is there
    assert found(f"{published}/mine.ckpt") == ("mine.ckpt", None)
    assert found("int8") == ("int8", "integer")
    assert found("int8:openvino") == ("int8", "openvino")
    assert found(f"{published}/int8:onnxruntime") == ("int8", "onnxruntime")
    assert found(f"{published}/int8") == ("int8", "integer")
    assert found(f"{published}/a:b:integer") == ("a:b", "integer")


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        (
            "calibrate",
            CheckpointError,
            "b=calibrate: no checkpoint at .*/calibrate-best.ckpt; run\n.*stage=calibrate run_name=x",
        ),
        ("qat-last.ckpt", CheckpointError, "stage=qat run_name=x\n.*b=FILE.ckpt"),
        ("nowhere:openvino", ArtefactError, "no artefact at nowhere; run\npython -m lidar_mt.export run_name=x\n"),
        ("int8:tensorrt", ConfigError, "b=int8:tensorrt: there is no runtime 'tensorrt', expected one of .*integer"),
        ("nothing", ConfigError, "b=nothing: expected float, calibrate, qat, int8:RUNTIME, FILE.ckpt"),
        (":integer", ConfigError, "b=:integer: expected float"),
    ],
)
def test_what_is_missing_names_the_command_that_makes_it(
    published: Path, name: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        locate("b", name, published, ["run_name=x"])


class Silent(Form):
    """What surrounds a form is compared; the form itself is not asked."""

    def trace(self, _: object) -> Trace:
        raise NotImplementedError


def test_networks_that_see_the_world_in_other_ways_are_refused() -> None:
    voxelizer, classes = parts()
    one = Subject("one", Silent(), voxelizer, classes, 10, None)
    check_same(one, replace(one, name="two", num_sweeps=3))
    grid = Grid(voxelizer.grid.point_cloud_range, (3.2, 3.2, 8.0))
    with pytest.raises(ConfigError, match="a=one and b=two cannot be compared, they differ in grid"):
        check_same(one, replace(one, name="two", voxelizer=Voxelizer(grid)))
    with pytest.raises(ConfigError, match="differ in limit of pillars: 240 and 9;"):
        check_same(one, replace(one, voxelizer=Voxelizer(voxelizer.grid, max_pillars_eval=9)))
    with pytest.raises(ConfigError, match="differ in classes"):
        check_same(one, replace(one, classes=replace(classes, segmentation=("others",))))


def test_a_command_for_another_program_leaves_out_what_it_does_not_know() -> None:
    given = ["a=qat", "experiment=demo", "b=x", "+trainer.limit_val_batches=1", "samples=2", "data.version=v", "out=o"]
    assert shared_arguments(given) == ["experiment=demo", "+trainer.limit_val_batches=1", "data.version=v"]
