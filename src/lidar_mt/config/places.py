"""Which network a command line means: the checkpoint or artefact, and what computes it.

It is named by `stage`, `runtime`, `checkpoint` and `artefact`, or in one word: `qat`, `int8:openvino`, `FILE.ckpt`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from omegaconf import DictConfig

from lidar_mt.config.commands import told_command
from lidar_mt.config.schema import SCHEMAS, RecipeConfig
from lidar_mt.config.stages import EXPORTED, QUANTIZED, stage_command
from lidar_mt.deploy.artefact import SIGNATURE
from lidar_mt.deploy.runtimes.loading import RUNTIMES
from lidar_mt.engine.files import previous_of
from lidar_mt.structures.errors import ArtefactError, CheckpointError, ConfigError

#: Computes a network as it is trained.
TORCH = "torch"
#: Stages whose published checkpoint can be named.
STAGES = ("float", *QUANTIZED)
#: What computes an artefact where nothing is said.
_DEFAULT_RUNTIME = "integer"
_EXPECTED = "float, calibrate, qat, int8:RUNTIME, FILE.ckpt, FOLDER:RUNTIME or qat:RUNTIME"
#: Keys that training and export do not have.
_OWN = {field.name for program in SCHEMAS.values() for field in fields(program)} - {
    field.name for field in fields(RecipeConfig)
}


@dataclass(frozen=True)
class Place:
    """Where a network is, and what shall compute it.

    Attributes:
        name: for tables, file and folder names: `float`, `int8_onnxruntime`, or the word that the user gave.
        stage: float, calibrate, qat or int8; of a checkpoint with another name float.
        runtime: torch, or one of `RUNTIMES`.
        path: checkpoint file, or folder of the artefact.
        made_by: command that writes the artefact anew; empty for a checkpoint.
    """

    name: str
    stage: str
    runtime: str
    path: Path
    made_by: str = ""

    @property
    def exported(self) -> bool:
        """Whether it is an artefact."""
        return self.stage == EXPORTED


def find_configured(cfg: DictConfig, arguments: Sequence[str] = ()) -> Place:
    """What `stage`, `runtime`, `checkpoint` and `artefact` of a configuration name; nothing is opened.

    Args:
        cfg: configuration of a program.
        arguments: of the command line, to say which command makes what is missing.

    Raises:
        ConfigError: the stage has no such runtime.
        CheckpointError: the checkpoint is missing.
        ArtefactError: the artefact is missing.
    """
    stage = cfg.stage.name
    runtime = cfg.get("runtime") or _default_runtime(stage)
    _check_runtime(f"stage={stage} runtime={runtime}", stage, runtime)
    name = stage if runtime == TORCH else f"{stage}_{runtime}"
    exported = stage == EXPORTED
    path = Path(cfg.artefact if exported else cfg.checkpoint)
    named = any(item.startswith("artefact=") for item in arguments)
    made_by = _export_command(arguments, path if named else None) if exported else ""
    place = Place(name, stage, runtime, path, made_by)
    _check_there(place, f"stage={stage}", "artefact=DIR" if exported else "checkpoint=FILE", arguments)
    return place


def find_named(key: str, name: str, published: Path, arguments: Sequence[str] = ()) -> Place:
    """What one word names; nothing is opened.

    Args:
        key: of the configuration, for messages.
        name: a stage, a checkpoint FILE.ckpt, `int8` or an artefact's FOLDER, each followed by :RUNTIME or not.
        published: folder of the published checkpoints, and of the artefact `int8`.
        arguments: of the command line, to say which command makes what is missing.

    Raises:
        ConfigError: the word means nothing, or the stage has no such runtime.
        CheckpointError: the checkpoint is missing.
        ArtefactError: the artefact is missing.
    """
    what, runtime = _split(key, name)
    if what in STAGES:
        stage, path = what, published / f"{what}-best.ckpt"
    elif what.endswith(".ckpt"):
        path = Path(what)
        stage = next((one for one in STAGES if path.name.startswith(one)), STAGES[0])
    else:
        stage, path = EXPORTED, published / EXPORTED if what == EXPORTED else Path(what)
    runtime = runtime or _default_runtime(stage)
    _check_runtime(f"{key}={name}", "" if what.endswith(".ckpt") else stage, runtime)
    made_by = _export_command(arguments, None if what == EXPORTED else path) if stage == EXPORTED else ""
    place = Place(name, stage, runtime, path, made_by)
    another = f"{key}=FOLDER:{runtime}" if stage == EXPORTED else f"{key}=FILE.ckpt"
    _check_there(place, f"{key}={name}", another, arguments)
    return place


def find_artefact(folder: Path, arguments: Sequence[str] = ()) -> Place:
    """The artefact in a folder, for a program that runs no network; nothing is opened.

    Args:
        folder: `artefact` of the configuration.
        arguments: of the command line, to say which command makes what is missing.

    Raises:
        ArtefactError: the artefact is missing.
    """
    named = any(item.startswith("artefact=") for item in arguments)
    place = Place(EXPORTED, EXPORTED, _DEFAULT_RUNTIME, folder, _export_command(arguments, folder if named else None))
    asked = [item for item in arguments if item.startswith("artefact=" if named else "run_name=")]
    _check_there(place, asked[-1] if asked else f"artefact={folder}", "artefact=DIR", arguments)
    return place


@contextlib.contextmanager
def naming_command(place: Place) -> Iterator[None]:
    """Adds the command that writes an artefact anew to what reading it raises."""
    try:
        yield
    except ArtefactError as error:
        if not place.made_by:
            raise
        raise ArtefactError(f"{error}\nTo export it again:\n{place.made_by}") from error


def shared_arguments(overrides: Sequence[str]) -> list[str]:
    """The arguments that training and export take as well, whatever program they were given to."""
    return [item for item in overrides if item.lstrip("+~").partition("=")[0].split(".")[0] not in _OWN]


def _export_command(arguments: Sequence[str], folder: Path | None) -> str:
    """The command that exports once more over what is there; `folder` where it is not the run's own."""
    kept = _of_export(arguments)
    if folder is not None:
        # Whose network lies in a folder that was named is not known, unless the command line says so.
        known = any(item.startswith("run_name=") for item in kept)
        kept += [*([] if known else ["run_name=RUN"]), f"out={folder}"]
    return told_command("export", [*kept, "overwrite=true"])


def _of_export(arguments: Sequence[str]) -> list[str]:
    return [item for item in shared_arguments(arguments) if not item.startswith("stage=")]


def _default_runtime(stage: str) -> str:
    return _DEFAULT_RUNTIME if stage == EXPORTED else TORCH


def _split(key: str, name: str) -> tuple[str, str]:
    """What stands before the last colon, and the runtime behind it; empty where none is given."""
    if name in (*STAGES, EXPORTED) or name.endswith(".ckpt") or (Path(name) / SIGNATURE).is_file():
        return name, ""
    what, _, runtime = name.rpartition(":")
    if not what:
        raise ConfigError(f"{key}={name}: expected {_EXPECTED}")
    return what, runtime


def _check_runtime(asked: str, stage: str, runtime: str) -> None:
    """Artefacts have no training form, float networks no integers; a checkpoint of unknown stage may have any."""
    known = [*(() if stage == EXPORTED else (TORCH,)), *(() if stage == STAGES[0] else RUNTIMES)]
    if runtime not in known:
        raise ConfigError(f"{asked}: no runtime {runtime!r} here, a network of this stage runs in {', '.join(known)}")


def _check_there(place: Place, asked: str, another: str, arguments: Sequence[str]) -> None:
    """Tells the command that makes what is missing."""
    shared = shared_arguments(arguments)
    if place.exported:
        if not (place.path / SIGNATURE).is_file():
            export = told_command("export", _of_export(arguments))
            raise ArtefactError(
                f"{asked}: no artefact at {place.path}; run\n{export}\nor name another one with {another}"
            )
    elif not place.path.is_file() and not previous_of(place.path).is_file():
        raise CheckpointError(
            f"{asked}: no checkpoint at {place.path}; run\n{stage_command(place.stage, shared)}\n"
            f"or name another one with {another}"
        )
