"""The machine, from the standard library alone."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from lidar_mt.environment.findings import Finding

_SECTION = "machine"
#: Instructions that decide how fast bfloat16 and int8 are.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
_OLDEST, _NEWEST = (3, 10), (3, 12)
#: Of this project and of the libraries below it; nothing else of the environment is shown.
_VARIABLES = ("LIDAR_MT_", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HYDRA_FULL_ERROR")
_LOW_BYTES = 5 * 10**9


def machine() -> Iterator[Finding]:
    """Python, operating system, processor, memory and the environment variables that matter here."""
    version = sys.version_info[:2]
    fits = _OLDEST <= version <= _NEWEST
    advice = "" if fits else "make a virtual environment with Python 3.10, 3.11 or 3.12"
    yield Finding(_SECTION, "python", "ok" if fits else "failed", platform.python_version(), advice)
    yield Finding(_SECTION, "system", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")
    yield Finding(_SECTION, "libc", "ok", " ".join(platform.libc_ver()) or "not told")
    yield Finding(_SECTION, "processor", "ok", _processor())
    yield Finding(_SECTION, "cores", "ok", f"{_usable_cores()} usable of {os.cpu_count()}")
    yield Finding(_SECTION, "memory", "ok", _memory())
    for name in sorted(os.environ):
        if name.startswith(_VARIABLES):
            yield Finding(_SECTION, name, "ok", os.environ[name])


def disk(name: str, folder: Path) -> Finding:
    """Free space where a folder is, or would be made."""
    there = next((parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists()), Path("/"))
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding("disk", name, "broken", f"{there}: {error.strerror}")
    low = free < _LOW_BYTES
    detail = f"{free / 1e9:.1f} GB free at {there}" + ("" if os.access(there, os.W_OK) else ", read-only")
    return Finding("disk", name, "broken" if low else "ok", detail, "make room, or name another folder" if low else "")


def _processor() -> str:
    lines = _read("/proc/cpuinfo")
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    found = " ".join(flag for flag in _FLAGS if flag in flags)
    return ", ".join(part for part in (name or platform.processor() or platform.machine(), found) if part)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    rows = [line.partition(":") for line in _read("/proc/meminfo") if line.endswith("kB")]
    kibibytes = {name: int(value.split()[0]) for name, _, value in rows}
    if "MemTotal" not in kibibytes:
        return "not told"
    free = kibibytes.get("MemAvailable", 0)
    return f"{kibibytes['MemTotal'] / 2**20:.1f} GiB, {free / 2**20:.1f} GiB available"


def _read(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
