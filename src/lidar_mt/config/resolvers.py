"""Interpolations that depend on the machine or compute something."""

from __future__ import annotations

from omegaconf import OmegaConf


def precision() -> str:
    """`bf16-mixed` where bfloat16 runs in hardware, else `32-true`.

    On a CPU with AVX512-BF16 or AMX the training step takes half the time; emulated bfloat16 would be slower than
    float32.
    """
    import torch  # here, so that programs that only prepare data start without it

    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    fast = any(getattr(torch.cpu, name, bool)() for name in checks)
    return "bf16-mixed" if fast else "32-true"


def half(count: int) -> int:
    """Half of a count, rounded up.

    Example:
        >>> half(5)
        3
    """
    return -(-count // 2)


def register() -> None:
    """Makes the resolvers known to OmegaConf; calling it again changes nothing."""
    OmegaConf.register_new_resolver("precision", precision, replace=True)
    OmegaConf.register_new_resolver("half", half, replace=True)
