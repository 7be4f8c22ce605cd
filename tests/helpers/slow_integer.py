"""Integer graphs in int64 numpy, loop by loop: nothing of torch, no float accumulators."""

from __future__ import annotations

import numpy as np

from lidar_mt.quantization.integer_graph import Add, Concat, Convolution, IntegerGraph, MaxPool, Quantize, Upsample
from lidar_mt.quantization.spec import Format


def run(graph: IntegerGraph, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All tensors of a graph without a scatter; `tensors` holds its inputs."""
    known = graph.codes_of()
    out = dict(tensors)
    for step in graph.steps:
        if isinstance(step, Quantize):
            out[step.name] = rounded(out[step.source] / np.float32(step.codes.scale), step.codes.form)
        elif isinstance(step, Convolution):
            out[step.name] = convolution(step, out[step.source], np.float32(known[step.source].scale))
        elif isinstance(step, Add):
            out[step.name] = add(step, out, known)
        elif isinstance(step, Concat):
            scale = np.float32(step.codes.scale)
            parts = [out[s].astype(np.float32) * (np.float32(known[s].scale) / scale) for s in step.sources]
            out[step.name] = np.concatenate([rounded(part, step.codes.form) for part in parts], axis=step.dim)
        elif isinstance(step, Upsample):
            out[step.name] = upsample(out[step.source])
        elif isinstance(step, MaxPool):
            out[step.name] = max_pool(step, out[step.source])
    return out


def rounded(x, form):
    return np.clip(np.rint(x), form.low, form.high).astype(np.int64)


def accumulate(step: Convolution, x: np.ndarray) -> np.ndarray:
    (top, left), (down, right), (dy, dx) = step.padding, step.stride, step.dilation
    x = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
    out_channels, per_group, kernel_h, kernel_w = step.weight.shape
    height = (x.shape[2] - dy * (kernel_h - 1) - 1) // down + 1
    width = (x.shape[3] - dx * (kernel_w - 1) - 1) // right + 1
    sums = np.zeros((len(x), out_channels, height, width), np.int64) + step.bias.astype(np.int64)[:, None, None]
    for c in range(out_channels):
        group = c // (out_channels // step.groups)
        for i in range(per_group):
            for ky in range(kernel_h):
                for kx in range(kernel_w):
                    part = x[:, group * per_group + i, ky * dy :, kx * dx :][:, ::down, ::right][:, :height, :width]
                    sums[:, c] += part * int(step.weight[c, i, ky, kx])
    return sums


def convolution(step: Convolution, x: np.ndarray, source_scale: np.float32) -> np.ndarray:
    sums = accumulate(step, x).astype(np.float32)
    real_scale = (source_scale * step.weight_scale)[:, None, None]
    if step.codes is None:
        return np.maximum(sums * real_scale, 0) if step.relu else sums * real_scale
    return rounded(sums * (real_scale / np.float32(step.codes.scale)), step.codes.form)


def add(step: Add, tensors: dict, known: dict) -> np.ndarray:
    """On codes as uint8 stores them, each multiply-add rounded once, in the processor's widest floats."""
    out = np.float32(step.codes.scale)
    ratios = [np.float32(known[name].scale) / out for name in (step.first, step.second)]
    zeros = [unsigned_zero(known[name].form) for name in (step.first, step.second)]
    zero = unsigned_zero(step.codes.form)
    fixed = np.float32(zero) - (ratios[0] * np.float32(zeros[0]) + ratios[1] * np.float32(zeros[1]))
    a, b = (
        (tensors[name] + at).astype(np.longdouble) for name, at in zip((step.first, step.second), zeros, strict=True)
    )
    inner = (b * ratios[1] + fixed).astype(np.float32)
    stored = (a * ratios[0] + inner).astype(np.float32)
    return np.clip(np.rint(stored).astype(np.int64) - zero, step.codes.form.low, step.codes.form.high)


def unsigned_zero(form: Format) -> int:
    shifted = form.dtype == "int8" and (form.low, form.high) in ((0, 255), (-128, 127))
    return form.zero_point + 128 * shifted


def upsample(x: np.ndarray) -> np.ndarray:
    """Sums of sixteenths in whole numbers, then rounded half to even."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    rows = np.empty((*x.shape[:2], 2 * (x.shape[2] - 2), x.shape[3]), np.int64)
    rows[:, :, 0::2] = x[:, :, :-2] + 3 * x[:, :, 1:-1]
    rows[:, :, 1::2] = 3 * x[:, :, 1:-1] + x[:, :, 2:]
    out = np.empty((*rows.shape[:3], 2 * (x.shape[3] - 2)), np.int64)
    out[..., 0::2] = rows[..., :-2] + 3 * rows[..., 1:-1]
    out[..., 1::2] = 3 * rows[..., 1:-1] + rows[..., 2:]
    whole, rest = out // 16, out % 16
    return whole + ((rest > 8) | ((rest == 8) & (whole % 2 == 1)))


def max_pool(step: MaxPool, x: np.ndarray) -> np.ndarray:
    (kernel_h, kernel_w), (down, right), (top, left) = step.kernel, step.stride, step.padding
    x = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=-(2**40))
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel_h, kernel_w), axis=(2, 3))
    return windows[:, :, ::down, ::right].max(axis=(4, 5))
