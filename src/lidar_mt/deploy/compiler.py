"""From an artefact to a folder for a board."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.board_report import BoardReport, encode_report
from lidar_mt.deploy.board_text import describe_report
from lidar_mt.deploy.targets.base import Target
from lidar_mt.metrics.scoreboard import digest
from lidar_mt.structures.errors import ArtefactError

REPORT_TEXT, REPORT_JSON = "report.txt", "report.json"


def compile_artefact(
    artefact: Artefact, target: Target, folder: Path, *, source: Path | None = None, overwrite: bool = False
) -> BoardReport:
    """Writes the compiled network and its report, all or nothing.

    Args:
        artefact: what was exported.
        target: what to compile for.
        folder: to write.
        source: folder that the artefact was read from; the report says which one it was.
        overwrite: replace a compiled network that is there already.

    Returns:
        The report, which is in the folder as JSON and as text.

    Raises:
        ConfigError: the compiler or the hardware is missing.
        ArtefactError: the compiler refuses the network, or something stands in the way.
    """
    if folder.exists() and not (overwrite and (folder / REPORT_JSON).is_file()):
        hint = "choose another out=" + (" or set overwrite=true" if (folder / REPORT_JSON).is_file() else "")
        raise ArtefactError(f"{folder} exists already; {hint}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp") as scratch:
        made = Path(scratch, "compiled")
        made.mkdir()
        report = target.compile(artefact, made)
        if source is not None:
            report = msgspec.structs.replace(report, source=digest(source), source_name=source.resolve().name)
        (made / REPORT_TEXT).write_text(describe_report(report), encoding="utf-8")
        (made / REPORT_JSON).write_bytes(encode_report(report))
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    return report
