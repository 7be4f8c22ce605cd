from __future__ import annotations

from pathlib import Path

import pytest

from lidar_mt.deploy.cpu import adds_exactly


@pytest.mark.parametrize(
    ("flags", "machine", "says"),
    [
        ("fpu avx512f avx512_vnni", "x86_64", True),
        ("fpu avx2 avx_vnni", "AMD64", True),
        ("fpu avx2 avx512f avx512_vnni_like", "x86_64", False),
        ("", "x86_64", False),
        ("", "aarch64", True),
    ],
)
def test_it_is_read_from_the_flags(tmp_path: Path, flags: str, machine: str, says: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: avx512_vnni\n")
    assert adds_exactly(path, machine) is says


def test_where_nothing_is_told_nothing_is_claimed(tmp_path: Path) -> None:
    assert adds_exactly(tmp_path / "none", "x86_64") is None
