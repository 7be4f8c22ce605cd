"""LiDAR multi-task toolkit: 3D detection and BEV segmentation from raw nuScenes to a deployed model."""

__version__ = "0.1.0"
