"""From an artefact to a folder for a board."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.board_report import describe_report, encode_report
from lidar_mt.deploy.targets.base import Target
from lidar_mt.structures.errors import ArtefactError

REPORT_TEXT, REPORT_JSON = "report.txt", "report.json"


def compile_artefact(artefact: Artefact, target: Target, folder: Path, *, overwrite: bool = False) -> str:
    """Writes the compiled network and its report, all or nothing.

    Args:
        artefact: what was exported.
        target: what to compile for.
        folder: to write.
        overwrite: replace a compiled network that is there already.

    Returns:
        The report as text.

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
        text = describe_report(report)
        (made / REPORT_TEXT).write_text(text)
        (made / REPORT_JSON).write_bytes(encode_report(report))
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    return text
