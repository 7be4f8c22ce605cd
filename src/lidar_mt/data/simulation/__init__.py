"""Simulated nuScenes: a random town, a 32-beam LiDAR and the official data format."""

from lidar_mt.data.simulation.dataset import Plan, choose_scenes, write_dataset

__all__ = ["Plan", "choose_scenes", "write_dataset"]
