"""Transforms of a sample between the store and the network."""

from lidar_mt.data.transforms.base import Transform, Transforms, as_list, prepare
from lidar_mt.data.transforms.bev_label_map import BevLabelMap, BevMapLabels
from lidar_mt.data.transforms.filters import KeepDetectionClasses, RangeFilter
from lidar_mt.data.transforms.geometry import GlobalRotationScaling, RandomFlip
from lidar_mt.data.transforms.gt_sampling import GtSampling

__all__ = [
    "BevLabelMap",
    "BevMapLabels",
    "GlobalRotationScaling",
    "GtSampling",
    "KeepDetectionClasses",
    "RandomFlip",
    "RangeFilter",
    "Transform",
    "Transforms",
    "as_list",
    "prepare",
]
