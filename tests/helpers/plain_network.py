"""The network after the canvas, written out from its description with functional calls on a state dict."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]
BLOCKS = {"level1": 1, "level2": 3, "level3": 3, "level4": 7, "level5": 3}
GROUPS = {"level1": (1, 1), "level2": (1, 1), "level3": (1, 1), "level4": (4, 6), "level5": (6, 10)}
HEAD_OUTPUTS = ("reg", "height", "dim", "rot", "vel", "heatmap")


def conv(w: Weights, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w.get(f"{name}.bias"), stride, weight.shape[2] // 2, groups=groups)


def conv_bn(w: Weights, name: str, x: Tensor, stride: int = 1, groups: int = 1, eps: float = 2e-5) -> Tensor:
    x = conv(w, f"{name}.conv", x, stride, groups)
    mean, var = w[f"{name}.norm.running_mean"], w[f"{name}.norm.running_var"]
    scale = w[f"{name}.norm.weight"] / torch.sqrt(var + eps)
    return x * scale[:, None, None] + (w[f"{name}.norm.bias"] - mean * scale)[:, None, None]


def block(w: Weights, name: str, x: Tensor, stride: int, groups: int) -> Tensor:
    main = conv_bn(w, f"{name}.project", F.relu(conv_bn(w, f"{name}.expand", x, stride, groups)))
    short = conv_bn(w, f"{name}.shortcut", x, stride) if f"{name}.shortcut.conv.weight" in w else x
    return F.relu(main + short)


def sep(w: Weights, name: str, x: Tensor) -> Tensor:
    return conv_bn(w, f"{name}.pointwise", F.relu(conv_bn(w, f"{name}.spatial", x, groups=x.shape[1] // 8)))


def fuse(w: Weights, name: str, coarse: Tensor, lateral: Tensor) -> Tensor:
    inner = F.relu(sep(w, f"{name}.lateral.first", lateral))
    varg = F.relu(sep(w, f"{name}.lateral.second", inner) + sep(w, f"{name}.lateral.shortcut", lateral))
    size = (2 * coarse.shape[2], 2 * coarse.shape[3])
    doubled = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return F.relu(sep(w, f"{name}.coarse", doubled) + varg)


def segmentation(w: Weights, x: Tensor) -> Tensor:
    for name in ("heads.segmentation.first", "heads.segmentation.second"):
        x = conv_bn(w, f"{name}.depthwise", x, groups=x.shape[1])
        x = F.relu(conv_bn(w, f"{name}.pointwise", x))
    return conv(w, "heads.segmentation.classifier", x)


def detection(w: Weights, x: Tensor, groups: int) -> list[Tensor]:
    def separable(name: str, x: Tensor) -> Tensor:
        return F.relu(conv_bn(w, f"{name}.pointwise", conv(w, f"{name}.depthwise", x, groups=x.shape[1]), eps=1e-5))

    shared = separable("heads.detection.shared", x)
    names = [f"heads.detection.groups.{group}.{output}" for group in range(groups) for output in HEAD_OUTPUTS]
    return [conv(w, f"{name}.predict", separable(f"{name}.feature", shared)) for name in names]


def run(w: Weights, canvas: Tensor, groups: int = 6) -> list[Tensor]:
    """All outputs in order: segmentation logits, then the six maps of each class group."""
    x = conv_bn(w, "backbone.stem", canvas, stride=2)
    maps = {}
    for level, blocks in BLOCKS.items():
        for index in range(blocks):
            stride = 2 if index == 0 and level != "level1" else 1
            x = block(w, f"backbone.levels.{level}.{index}", x, stride, GROUPS[level][min(index, 1)])
        maps[level] = x
    for level in ("level4", "level3", "level2"):
        x = fuse(w, f"neck.fusions.{level}", x, maps[level])
    return [segmentation(w, x), *detection(w, x, groups)]
