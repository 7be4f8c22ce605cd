"""What is looked at in a child process, see `environment.isolation`. A probe that raises is a finding."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from lidar_mt.environment.isolation import answer


def imports(name: str) -> str:
    """Imports a package; its version, or an empty string where it does not say."""
    return str(getattr(importlib.import_module(name), "__version__", ""))


def torch_devices(_: str = "") -> dict[str, Any]:
    """What torch computes on."""
    import torch

    found: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "cuda build": getattr(torch.version, "cuda", None) or "",
        "cuda": [],
    }
    if torch.cuda.is_available():
        found["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            capability = f"{device.major}.{device.minor}"
            found["cuda"].append(f"{device.name}, {device.total_memory / 2**30:.0f} GiB, capability {capability}")
    return found


def configuration(*overrides: str) -> dict[str, str]:
    """Composes the training configuration; the folders in it."""
    from lidar_mt.config import CONF_DIR, compose

    cfg = compose("train", list(overrides))
    return {"conf": CONF_DIR, **{name: str(cfg.paths[name]) for name in ("raw", "packed", "runs")}}


def store(path: str) -> dict[str, Any]:
    """The manifest of a packed split, once its first keyframe could be read."""
    from lidar_mt.data.lmdb_store.manifest import manifest_hash, read_manifest
    from lidar_mt.data.lmdb_store.reader import StoreReader

    folder = Path(path)
    manifest = read_manifest(folder)
    reader = StoreReader(folder)
    if manifest.keyframes:
        record = reader.keyframe(reader.sample_tokens[0].decode())
        reader.sweep(record.lidar_token)
    return {
        "keyframes": manifest.keyframes,
        "scenes": manifest.scenes,
        "lidarseg": manifest.has_lidarseg,
        "bytes": manifest.data_bytes,
        "manifest": manifest_hash(folder)[:16],
    }


def checkpoint(path: str) -> dict[str, Any]:
    """What lies in a checkpoint's place, once all of it could be read and fits its checksums."""
    from lidar_mt.engine.checkpoint import config_beside, read_file

    file = Path(path)
    read_file(file)
    config = config_beside(file)
    return {"bytes": file.stat().st_size, "config": config.name, "described": config.is_file()}


def main() -> None:
    """Answers the probes on standard input, one line each."""
    known = (imports, torch_devices, configuration, store, checkpoint)
    for name, *arguments in json.load(sys.stdin):
        answer({probe.__name__: probe for probe in known}[name](*arguments))


if __name__ == "__main__":
    main()
