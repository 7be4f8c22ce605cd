"""What the processor offers to integer networks."""

from __future__ import annotations

import platform
from pathlib import Path

#: Instructions that add products of 8-bit integers in 32 bits, as Linux names them.
_EXACT_FLAGS = {"avx512_vnni", "avx_vnni"}


def adds_exactly(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str | None = None) -> bool | None:
    """Whether 8-bit products are summed without saturating.

    x86 processors without VNNI add pairs of products in 16 bits, which overflows for large codes.

    Args:
        cpuinfo: where Linux describes the processor.
        machine: architecture; this machine's by default.

    Returns:
        None where it cannot be told.
    """
    if (machine or platform.machine()).lower() not in ("x86_64", "amd64"):
        return True
    if not cpuinfo.is_file():
        return None
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    return bool(_EXACT_FLAGS & set(flags.split()))


def model_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name of the processor, as Linux gives it; else the architecture."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
