"""What a terminal of 80 columns shows."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType


def printed(content: RenderableType) -> str:
    buffer = io.StringIO()
    Console(file=buffer, width=80).print(content)
    return buffer.getvalue()
