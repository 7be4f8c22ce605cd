"""A page that is one file: text, tables and pictures inside, no scripts, nothing from a network."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from lidar_mt.visualization import palette

_STYLE = f"""
:root {{ color-scheme: dark; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; background: {palette.BACKGROUND};
  color: {palette.INK}; font: 1rem/1.5 system-ui, sans-serif; }}
h1 {{ margin: 0 0 .25rem; font-size: 1.6rem; }}
h2 {{ margin: 2.5rem 0 .75rem; font-size: 1.2rem; padding-bottom: .3rem;
  border-bottom: 1px solid {palette.GRID_LINE}; }}
h3 {{ margin: 1.25rem 0 .5rem; font-size: 1rem; }}
p, figcaption {{ color: {palette.INK_MUTED}; margin: .4rem 0; max-width: 60rem; }}
nav a {{ color: #7fd1ff; margin-right: 1rem; }}
.scroll {{ overflow-x: auto; margin-bottom: .8rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; background: {palette.PANEL}; }}
th, td {{ padding: .35rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #222c3b; }}
th:first-child, td:first-child, .words td {{ text-align: left; }}
.words td:last-child {{ white-space: normal; }}
th {{ color: {palette.INK_MUTED}; font-weight: 600; white-space: normal; }}
td small {{ color: {palette.INK_MUTED}; }}
figure {{ margin: 1rem 0; }}
img {{ max-width: 100%; height: auto; border-radius: 4px; }}
figure input {{ position: absolute; opacity: 0; }}
figure label {{ cursor: zoom-in; display: block; }}
figure input:focus-visible + img {{ outline: 2px solid #7fd1ff; }}
figure:has(input:checked) {{ grid-column: 1 / -1; }}
figure:has(input:checked) label {{ cursor: zoom-out; }}
figure:has(input:checked) img {{ width: 100%; }}
.pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(34rem, 1fr)); gap: 1rem; }}
pre {{ overflow-x: auto; background: {palette.PANEL}; padding: .8rem; font-size: .8rem; line-height: 1.4; }}
summary {{ cursor: pointer; color: {palette.INK_MUTED}; }}
"""


class HtmlPage:
    """Collects sections; `text` is the page.

    Args:
        title: heading and window title.
        note: a line below it.
    """

    def __init__(self, title: str, note: str = "") -> None:
        self._title, self._note = title, note
        self._parts: list[str] = []
        self._sections: list[str] = []

    def section(self, title: str) -> None:
        """Starts a section, with a link at the top of the page."""
        self._sections.append(title)
        self._parts.append(f'<h2 id="s{len(self._sections)}">{_escape(title)}</h2>')

    def heading(self, title: str) -> None:
        """A smaller heading within the section."""
        self._parts.append(f"<h3>{_escape(title)}</h3>")

    def paragraph(self, text: str) -> None:
        """Plain text."""
        self._parts.append(f"<p>{_escape(text)}</p>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], words: bool = False) -> None:
        """A table; what stands behind a line break in a cell is set small.

        Args:
            header: column titles; none leaves their row out.
            rows: cells as text, as many in each as there are columns.
            words: cells are text, which is set from the left, and not numbers.
        """
        head = "".join(f"<th>{_cell(name)}</th>" for name in header)
        body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        head = f"<thead><tr>{head}</tr></thead>" if header else ""
        kind = ' class="words"' if words else ""
        self._parts.append(f'<div class="scroll"><table{kind}>{head}<tbody>{body}</tbody></table></div>')

    def figure(self, figure: Figure, caption: str) -> None:
        """A figure of this package, as a PNG inside the page."""
        buffer = BytesIO()
        figure.savefig(buffer, format="png", facecolor=figure.get_facecolor())
        self._parts.append(_image(buffer.getvalue(), caption))

    def pictures(self, files: Sequence[tuple[Path, str]]) -> None:
        """PNG files with their captions, side by side where there is room; those that are not there are left out."""
        shown = [_image(path.read_bytes(), caption) for path, caption in files if path.is_file()]
        if shown:
            self._parts.append(f'<div class="pair">{"".join(shown)}</div>')

    def text_block(self, title: str, text: str) -> None:
        """Preformatted text that opens by a click."""
        self._parts.append(f"<details><summary>{_escape(title)}</summary><pre>{_escape(text)}</pre></details>")

    def text(self) -> str:
        """The whole page."""
        links = "".join(f'<a href="#s{n}">{_escape(name)}</a>' for n, name in enumerate(self._sections, 1))
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{_escape(self._title)}</title><style>{_STYLE}</style></head><body>"
            f"<h1>{_escape(self._title)}</h1><p>{_escape(self._note)}</p><nav>{links}</nav>\n"
            + "\n".join(self._parts)
            + "\n</body></html>\n"
        )


def _image(data: bytes, caption: str) -> str:
    encoded = base64.b64encode(data).decode("ascii")
    text = _escape(caption)
    # A box that is ticked, without a script: the style sheet makes its picture as wide as the page.
    picture = f'<input type="checkbox" aria-label="enlarge"><img src="data:image/png;base64,{encoded}" alt="{text}">'
    return f"<figure><label>{picture}</label><figcaption>{text}</figcaption></figure>"


def _cell(text: str) -> str:
    first, newline, rest = text.partition("\n")
    # A long name may break behind an underscore.
    return _escape(first).replace("_", "_<wbr>") + (f"<br><small>{_escape(rest)}</small>" if newline else "")


def _escape(text: str) -> str:
    return html.escape(text, quote=True)
