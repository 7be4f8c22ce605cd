"""Which parts of a network a runtime computes in integers, and which it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from lidar_mt.deploy.runtimes.base import RunNode

_SHOWN = 8


def fallback_table(runtime: str, nodes: Iterable[RunNode]) -> str:
    """Text: operators by precision, and the names of those in float.

    Args:
        runtime: its name.
        nodes: what it executes.
    """
    nodes = list(nodes)
    lines = [f"{runtime}: {_count(nodes, 'int8')} operators in int8, {_count(nodes, 'float')} in float, "
             f"{_count(nodes, 'move')} that only move or convert"]  # fmt: skip
    for precision in ("int8", "float", "move"):
        kinds = Counter(node.kind for node in nodes if node.precision == precision)
        lines.append(f"  {precision:5s} " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    floats = [node.name for node in nodes if node.precision == "float"]
    lines += [f"  in float: {name}" for name in floats[:_SHOWN]]
    if len(floats) > _SHOWN:
        lines.append(f"  ... and {len(floats) - _SHOWN} more")
    return "\n".join(lines)


def _count(nodes: Iterable[RunNode], precision: str) -> int:
    return sum(node.precision == precision for node in nodes)
