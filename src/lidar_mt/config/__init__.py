"""Hydra stops here: the configuration folder, schemas, resolvers and object creation."""

from lidar_mt.config.instantiate import instantiate
from lidar_mt.config.program import CONF_DIR, compose, program

__all__ = ["CONF_DIR", "compose", "instantiate", "program"]
