from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

from lidar_mt.visualization.figure import save_figure
from lidar_mt.visualization.html_page import HtmlPage
from lidar_mt.visualization.training_curves import draw_training_curves


class Reader(HTMLParser):
    """Tags in order; fails on one that is closed without being open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "wbr", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def read(page: HtmlPage) -> Reader:
    reader = Reader()
    reader.feed(page.text())
    assert reader.open == []
    return reader


def test_a_page_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    figure = draw_training_curves({"loss": {"a": [(n, 1 / (n + 1)) for n in range(100)]}, "b": {"x": [(0, 1.0)]}}, "t")
    save_figure(figure, tmp_path / "one.png")
    page = HtmlPage("a <title> & more", "note")
    page.section("first")
    page.table(["name", "NDS\n%"], [["float", "50.00"], ["qat", "49.88\n(-0.12)"]])
    page.table([], [["clock", "1000 MHz"]], words=True)
    page.section("second")
    page.heading("small")
    page.paragraph("1 < 2")
    page.figure(figure, "curves")
    page.pictures([(tmp_path / "one.png", "here"), (tmp_path / "two.png", "gone")])
    page.text_block("more", "<script>alert(1)</script>")
    reader = read(page)
    tags = [tag for tag, _ in reader.seen]
    assert tags.count("img") == 2
    assert tags.count("input") == 2, "a box to tick for each picture, which makes it large"
    assert tags.count("thead") == 1
    assert "script" not in tags
    assert "link" not in tags
    assert "<script>alert(1)</script>" in reader.words
    assert [attrs["href"] for tag, attrs in reader.seen if tag == "a"] == ["#s1", "#s2"]
    for tag, attrs in reader.seen:
        if tag == "img":
            source = str(attrs["src"])
            assert base64.b64decode(source.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert not re.search(r"https?://", page.text())


def test_pictures_that_are_not_there_leave_nothing_behind(tmp_path: Path) -> None:
    page = HtmlPage("a")
    page.pictures([(tmp_path / "two.png", "gone")])
    assert "img" not in [tag for tag, _ in read(page).seen]
