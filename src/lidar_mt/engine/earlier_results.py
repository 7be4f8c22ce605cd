"""What an earlier inference run left in the folder of results, so that one which was stopped goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lidar_mt.visualization.viewer_page import read_frames

#: Key of a frame's JSON file that says what it was made with.
MADE_WITH = "made_with"
#: And whether a picture of it was drawn then.
PICTURE = "picture"


class EarlierResults:
    """Says which frames are done: with the same settings, from the same input, and completely.

    A frame's JSON file is written last of its files and appears complete, so it stands for the others.

    Args:
        out: folder of the results.
        settings: everything that decides what a frame's results are, but the frame; plain values.
        pictures: a picture of each frame is wanted.
        page: the page, with points and surfaces of the frames that it shows; None where none is wanted.
        page_points: points of a frame on the page.
    """

    def __init__(
        self, out: Path, settings: Mapping[str, Any], pictures: bool, page: Path | None = None, page_points: int = 0
    ) -> None:
        self._out, self._settings, self._pictures = out, dict(settings), pictures
        self._page_points = page_points
        self._shown = {} if page is None else read_frames(page)

    def made_with(self, state: Iterable[Any]) -> dict[str, Any]:
        """What is kept in the JSON file of a frame whose input has this state."""
        return {**self._settings, "input": list(state)}

    def page_key(self, made_with: Mapping[str, Any]) -> str:
        """Stands for all that decides what the page shows of a frame."""
        text = json.dumps([made_with, self._page_points], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def is_done(self, name: str, made_with: Mapping[str, Any], on_page: bool) -> bool:
        """Whether nothing of a frame is missing.

        Args:
            name: of the frame.
            made_with: its settings now.
            on_page: the page shall show it.
        """
        if on_page and self.shown(name).get("made") != self.page_key(made_with):
            return False
        try:
            content = json.loads((self._out / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return False
        if not isinstance(content, dict) or content.get(MADE_WITH) != made_with:
            return False
        return not self._pictures or (content.get(PICTURE) is True and (self._out / f"{name}.png").is_file())

    def not_among(self, names: Iterable[str]) -> list[str]:
        """Names of the frames that the earlier page shows, and that are not among those of a new run."""
        here = set(names)
        return [name for name in self._shown if name not in here]

    def shown(self, name: str) -> dict[str, Any]:
        """What the earlier page has of a frame; empty where it has nothing."""
        return self._shown.get(name, {})
