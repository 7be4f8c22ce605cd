from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lidar_mt.config.places import find_configured, find_named, shared_arguments
from lidar_mt.deploy.artefact import SIGNATURE
from lidar_mt.structures.errors import ArtefactError, CheckpointError, ConfigError


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Empty files in the place of what is only found, not opened."""
    for name in ("qat-best.ckpt", "float-best.previous.ckpt", "mine.ckpt", f"int8/{SIGNATURE}", f"a:b/{SIGNATURE}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_names_and_what_they_stand_for(published: Path) -> None:
    def found(name: str) -> tuple[str, str]:
        place = find_named("a", name, published)
        return str(place.path.relative_to(published)), place.runtime

    assert found("qat") == ("qat-best.ckpt", "torch")
    assert found("float") == ("float-best.ckpt", "torch")  # the one before it is there
    assert found(f"{published}/mine.ckpt") == ("mine.ckpt", "torch")
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
        ("int8:tensorrt", ConfigError, "b=int8:tensorrt: no runtime 'tensorrt' here, .*integer"),
        ("float:integer", ConfigError, "b=float:integer: no runtime 'integer' here, .* runs in torch$"),
        ("int8:torch", ConfigError, "b=int8:torch: no runtime 'torch' here"),
        ("nothing", ConfigError, "b=nothing: expected float, calibrate, qat, int8:RUNTIME, FILE.ckpt"),
        (":integer", ConfigError, "b=:integer: expected float"),
    ],
)
def test_what_is_missing_names_the_command_that_makes_it(
    published: Path, name: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        find_named("b", name, published, ["run_name=x"])


def configured(published: Path, stage: str, runtime: str | None = None, **keys: str) -> object:
    settings = {"checkpoint": f"{published}/{stage}-best.ckpt", "artefact": f"{published}/int8", **keys}
    return OmegaConf.create({"stage": {"name": stage}, "runtime": runtime, **settings})


def test_keys_and_words_name_the_same_place(published: Path) -> None:
    for stage, runtime, word, name in (
        ("qat", None, "qat", "qat"),
        ("float", "torch", "float:torch", "float"),
        ("qat", "openvino", "qat:openvino", "qat_openvino"),
        ("int8", None, "int8", "int8_integer"),
        ("int8", "litert", "int8:litert", "int8_litert"),
    ):
        place, same = find_configured(configured(published, stage, runtime)), find_named("a", word, published)
        assert (place.stage, place.runtime, place.path) == (same.stage, same.runtime, same.path)
        assert (place.name, same.name) == (name, word)
        assert place.exported == (stage == "int8")


@pytest.mark.parametrize(
    ("stage", "runtime", "keys", "kind", "words"),
    [
        (
            "calibrate",
            None,
            {},
            CheckpointError,
            "no checkpoint at .*; run\n.*stage=calibrate seed=1",
        ),
        ("calibrate", None, {}, CheckpointError, "another one with checkpoint=FILE"),
        ("int8", None, {"artefact": "nowhere"}, ArtefactError, "at nowhere; run\npython -m lidar_mt.export seed=1\n"),
        ("int8", None, {"artefact": "nowhere"}, ArtefactError, "another one with artefact=DIR"),
        ("int8", "torch", {}, ConfigError, "stage=int8 runtime=torch: .* runs in integer, onnxruntime"),
        ("float", "integer", {}, ConfigError, "stage=float runtime=integer: .* runs in torch$"),
    ],
)
def test_keys_that_lead_nowhere_name_the_command_as_well(
    published: Path, stage: str, runtime: str | None, keys: dict[str, str], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        find_configured(configured(published, stage, runtime, **keys), ["stage=int8", "points=x", "seed=1"])


def test_a_command_for_another_program_leaves_out_what_it_does_not_know() -> None:
    given = [
        "a=qat",
        "experiment=demo",
        "b=x",
        "+trainer.limit_val_batches=1",
        "samples=2",
        "sensor.height_m=2",
        "data.version=v",
        "out=o",
    ]
    assert shared_arguments(given) == ["experiment=demo", "+trainer.limit_val_batches=1", "data.version=v"]
