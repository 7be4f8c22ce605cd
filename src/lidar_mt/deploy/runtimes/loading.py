"""A runtime by name."""

from __future__ import annotations

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.runtimes.base import Runtime
from lidar_mt.deploy.runtimes.integer import IntegerRuntime
from lidar_mt.deploy.runtimes.litert import LiteRt
from lidar_mt.deploy.runtimes.onnxruntime import OnnxRuntime
from lidar_mt.deploy.runtimes.openvino import OpenVino
from lidar_mt.structures.errors import ConfigError

#: The packages themselves are imported when a runtime is made.
RUNTIMES: dict[str, type[Runtime]] = {
    runtime.name: runtime for runtime in (IntegerRuntime, OnnxRuntime, OpenVino, LiteRt)
}


def load_runtime(name: str, artefact: Artefact, threads: int = 1) -> Runtime:
    """Opens an exported network.

    Args:
        name: integer, onnxruntime, openvino or litert.
        artefact: from `read_artefact`.
        threads: processor threads.

    Raises:
        ConfigError: there is no such runtime, or its package is not installed.
        ArtefactError: the runtime refuses the network.

    Example:
        >>> sorted(RUNTIMES)
        ['integer', 'litert', 'onnxruntime', 'openvino']
    """
    if name not in RUNTIMES:
        raise ConfigError(f"runtime={name}: expected one of {sorted(RUNTIMES)}")
    return RUNTIMES[name](artefact, threads)
