"""The tables of a nuScenes version: what the simulator writes, packing copies and the evaluation opens."""

from __future__ import annotations

#: The official tables, each a `<name>.json`. lidarseg comes on top where there are labels per point.
#: Source: the nuScenes schema.
TABLE_NAMES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)
