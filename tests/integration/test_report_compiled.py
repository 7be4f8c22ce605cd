"""The page about a run shows compiled networks of that run's artefact alone."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path

import pytest

from lidar_mt.deploy.artefact import write_artefact
from tests.helpers.artefacts import exported


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Published files of the run `mine`: an artefact."""
    monkeypatch.setenv("LIDAR_MT_RUNS", str(tmp_path))
    folder = tmp_path / "mine/published"
    write_artefact(exported("u8", "pow2"), folder / "int8")
    return folder


def test_a_compiled_network_is_shown_as_long_as_its_artefact_is_there(published: Path, programs) -> None:
    pytest.importorskip("ethosu")
    assert programs("compile", "target=ethos_u65", "run_name=mine").status == 0

    def page() -> tuple[str, str]:
        done = programs("report", "run_name=mine")
        assert done.status == 0
        return html.unescape((published.parent / "report.html").read_text(encoding="utf-8")), done.out

    shown, told = page()
    assert "without 37 operators left to the processor" in shown
    assert "run on the host and are in no figure here" in shown
    assert "another network" not in shown + told

    # Exported anew from the same network it is the same artefact.
    write_artefact(exported("u8", "pow2"), published / "int8", overwrite=True)
    assert "another network" not in page()[0]

    write_artefact(replace(exported("u8", "pow2"), report="another"), published / "int8", overwrite=True)
    shown, told = page()
    again = "python -m lidar_mt.compile target=ethos_u65 run_name=mine overwrite=true"
    for text in (shown, told):
        assert f"is of another network; compile again: {again}" in text
    assert "ms a frame" not in shown
    assert "no compile estimate yet" not in told


def test_a_report_that_names_no_artefact_is_not_shown(published: Path, programs) -> None:
    pytest.importorskip("openvino")
    made = published / "compiled/mine"
    assert programs("compile", "target=openvino", "target.repeats=1", "run_name=mine", f"out={made}").status == 0
    content = json.loads((made / "report.json").read_bytes())
    del content["source"], content["source_name"]
    (made / "report.json").write_text(json.dumps(content))
    told = programs("report", "run_name=mine").out
    again = f"python -m lidar_mt.compile target=openvino run_name=mine out={made} overwrite=true"
    assert f"{made} is of an older version; compile again: {again}" in told
    (made / "report.json").unlink()
    assert f"{made} is not complete, or of another version; compile again" in programs("report", "run_name=mine").out
