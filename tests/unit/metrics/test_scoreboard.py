from __future__ import annotations

import io
import math
import os
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from lidar_mt.metrics.scoreboard import (
    Score,
    comparison_rows,
    comparison_table,
    data_key,
    digest,
    headline,
    picture_folder,
    read_scores,
    told_folder,
    write_score,
)


def printed(scores: list[Score], data: str = "mini val", samples: int = 9) -> str:
    console = Console(width=200, file=io.StringIO())
    table = comparison_table(scores, data, samples)
    if table is None:
        return ""
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def score(name: str, nds: float | None = 0.5, data: str = "mini val", samples: int = 9, source: str = "a") -> Score:
    return Score(name, data, source, "x.ckpt", {"NDS": nds, "mATE": 0.3}, samples)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x.ckpt").write_bytes(b"weights")
    return tmp_path / "scores"


def test_scores_come_back_from_float_to_int8(folder: Path) -> None:
    source = digest(folder.parent / "x.ckpt")
    for name in ("int8_openvino", "qat", "calibrate", "float", "int8_integer"):
        write_score(folder, score(name, source=source))
    names = ["float", "calibrate", "qat", "int8_integer", "int8_openvino"]
    assert [one.name for one in read_scores(folder)] == names
    assert read_scores(folder)[0] == score("float", source=source)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"name": "float"}', b"\xff\xfe"])
def test_other_files_are_left_out(folder: Path, content: bytes) -> None:
    write_score(folder, score("qat", source=digest(folder.parent / "x.ckpt")))
    (folder / "float.json").write_bytes(content)
    assert [one.name for one in read_scores(folder)] == ["qat"]


def test_scores_of_a_checkpoint_that_has_changed_or_gone_are_left_out(folder: Path) -> None:
    checkpoint = folder.parent / "x.ckpt"
    write_score(folder, score("float", source=digest(checkpoint)))
    assert len(read_scores(folder)) == 1
    checkpoint.write_bytes(b"other")
    assert read_scores(folder) == []
    checkpoint.unlink()
    assert read_scores(folder) == []


def test_differences_are_told_in_points_and_in_units() -> None:
    text = printed([score("float", 0.5), Score("qat", "mini val", "a", "x", {"NDS": 0.4988, "mATE": 0.31}, 9)])
    assert "50.00" in text
    assert "49.88" in text
    assert "(-0.12)" in text
    assert "(+0.010)" in text
    assert text.count("(") == 2  # float has none


def test_only_the_same_data_are_compared() -> None:
    others = [score("qat", data="mini train"), score("int8", samples=8)]
    assert printed([score("float"), *others]) == ""
    assert printed([]) == ""


def test_without_float_there_are_no_differences() -> None:
    text = printed([score("qat"), score("int8_integer")])
    assert "no float to compare with" in " ".join(text.split())
    assert "int8 integer" in text
    assert "(" not in text.split("compare with")[1]


def test_undefined_scores_are_dashes() -> None:
    assert re.search(r"qat +- +0\.300", printed([score("float"), score("qat", None)]))
    assert headline(None, {"mIoU": math.nan, "IoU/a": 0.5, "accuracy": 1.0}) == {"mIoU": None, "IoU/a": 0.5}


def test_a_narrow_terminal_sees_the_main_numbers() -> None:
    values = {
        "NDS": 0.5,
        "mAP": 0.4,
        "car AP": 0.8,
        "mIoU": 0.9,
        "IoU/driveable_surface": 0.9,
        "mATE": 0.3,
        "mASE": 0.2,
    }
    scores = [Score(name, "mini val", "a", "x", values, 9) for name in ("float", "int8_onnxruntime")]
    console = Console(width=80, file=io.StringIO())
    console.print(comparison_table(scores, "mini val", 9, short=True))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "int8 onnxruntime" in text
    assert "…" not in text
    assert "mATE" not in text
    assert "(+0.00)" in text


def test_scores_of_another_task_stand_under_its_name_without_percent() -> None:
    others = {"flow": {"end_point_error": 1.5, "outliers": math.nan}, "depth": {"error_m": 2.0}}
    values = headline(None, {"mIoU": 0.5}, others)
    assert values == {"mIoU": 0.5, "flow/end_point_error": 1.5, "flow/outliers": None, "depth/error_m": 2.0}
    scores = [Score(name, "mini val", "a", "x", values, 9) for name in ("float", "qat")]
    text = printed(scores)
    assert re.search(r"qat +50\.00 +1\.500 +- +2\.000", text)
    header, rows = comparison_rows(scores, "mini val", 9, short=True)
    assert header == ["network", "mIoU\n%", "flow end_point_error", "depth error_m"]
    assert rows[1] == ["qat", "50.00\n(+0.00)", "1.500\n(+0.000)", "2.000\n(+0.000)"]


def test_scores_on_other_data_are_kept_apart(folder: Path) -> None:
    source = digest(folder.parent / "x.ckpt")
    own, nine = data_key("v1.0-mini", "val"), data_key("v1.0-mini", "val", sweeps=9)
    limited, labels = data_key("v1.0-mini", "val", limit=0.5), data_key("v1.0-mini", "val", labels="map_mask")
    for data in (own, nine, limited, labels):
        write_score(folder, score("float", data=data, source=source))
    write_score(folder, score("qat", data=nine, source=source))
    write_score(folder, score("float", nds=0.6, data=own, source=source))  # once more
    found = read_scores(folder)
    assert len({path.name for path in folder.iterdir()}) == len(found) == 5
    assert [(one.name, one.data) for one in found] == [
        ("float", own),
        ("float", nine),
        ("float", labels),
        ("float", limited),
        ("qat", nine),
    ]
    assert found[0].values["NDS"] == 0.6
    assert "50.00" in printed(found, nine)
    assert "60.00" not in printed(found, nine)
    assert printed(found, own) == "", "nothing to compare with"


def test_of_two_files_about_the_same_the_newer_counts(folder: Path) -> None:
    source = digest(folder.parent / "x.ckpt")
    path = write_score(folder, score("float", nds=0.6, source=source))
    older = path.rename(folder / "float.json")  # as earlier versions called it
    os.utime(older, (1, 1))
    write_score(folder, score("float", source=source))
    assert [one.values["NDS"] for one in read_scores(folder)] == [0.5]


def test_pictures_are_found_after_the_run_has_moved(tmp_path: Path) -> None:
    scores, pictures = tmp_path / "demo/published/scores", tmp_path / "demo/evaluate_float/1/pictures"
    pictures.mkdir(parents=True)
    told = told_folder(pictures, scores)
    assert told == "../../evaluate_float/1/pictures"
    kept = Score("float", "mini val", "a", "x.ckpt", {}, pictures=told)
    assert picture_folder(scores, kept) == pictures
    shutil.move(tmp_path / "demo", tmp_path / "moved")
    assert picture_folder(tmp_path / "moved/published/scores", kept).is_dir()
    assert told_folder(Path("/somewhere/else"), scores) == "/somewhere/else"
