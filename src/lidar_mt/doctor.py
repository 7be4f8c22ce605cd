"""Looks over the installation: versions, devices, extras, data, checkpoints, disk; what is missing, and how to get it.

    python -m lidar_mt.doctor

Useful keys:
    json=true          one JSON list, for programs
    out=FILE           write the report there as well, for a bug report
    paths.root=DIR     where data lies, and every other key of training that moves a folder

Nothing it finds makes it fail: broken libraries and damaged stores are looked at in child processes and reported. The
exit status is 2 where something that every program needs does not work, and 0 otherwise. It shows versions, counts,
folders and the environment variables of this project, no names or secrets.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lidar_mt.environment.data import packed_data, raw_data, runs
from lidar_mt.environment.findings import Finding, render
from lidar_mt.environment.isolation import ask
from lidar_mt.environment.machine import disk, machine
from lidar_mt.environment.packages import declared, packages, probes

EXIT_FAILED = 2
_OWN_KEYS = ("json", "out")


def main() -> None:
    """Prints the report; Hydra is not used here, since it may be what is broken."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print((__doc__ or "").strip())
        return
    keys = dict(item.split("=", 1) for item in sys.argv[1:] if "=" in item)
    wrong = [item for item in sys.argv[1:] if "=" not in item]
    if wrong or keys.get("json", "true") not in ("true", "false"):
        came = " ".join(wrong) or f"json={keys['json']}"
        print(f"error: {came}: expected json=true, out=FILE or paths.root=DIR; see --help", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    findings = list(examine([f"{key}={value}" for key, value in keys.items() if key not in _OWN_KEYS]))
    text = json.dumps([each._asdict() for each in findings], indent=1)
    text = text if keys.get("json") == "true" else render(findings)
    print(text)
    if "out" in keys:
        Path(keys["out"]).write_text(text + "\n", encoding="utf-8")
    sys.exit(EXIT_FAILED if any(each.state == "failed" for each in findings) else 0)


def examine(overrides: list[str]) -> Iterator[Finding]:
    """Everything there is to report, section by section.

    Args:
        overrides: of the training configuration.
    """
    yield from machine()
    requirements = declared()
    imports = probes(requirements)
    # In one child, so that the large libraries are loaded once.
    *answers, devices, composed = ask([*imports.values(), ["torch_devices"], ["configuration", *overrides]])
    yield from packages(requirements, dict(zip(imports, answers, strict=True)))
    yield from _devices(devices.value)
    folders = composed.value or _default_folders()
    if composed.error:
        yield Finding("configuration", "train", "failed", composed.error, "repair the packages above, or the override")
    else:
        yield Finding("configuration", "train", "ok", f"composes, from {folders['conf']}")
    yield from raw_data(Path(folders["raw"]))
    yield from packed_data(Path(folders["packed"]))
    yield from runs(Path(folders["runs"]))
    yield from (disk(name, Path(folders[name])) for name in ("packed", "runs"))


def _default_folders() -> dict[str, str]:
    """Where data and runs lie by default, for when the configuration cannot say."""
    root = Path(os.environ.get("LIDAR_MT_DATA", "data"))
    return {"raw": f"{root}/nuscenes", "packed": f"{root}/packed", "runs": os.environ.get("LIDAR_MT_RUNS", "runs")}


def _devices(found: dict[str, Any] | None) -> Iterator[Finding]:
    if found is None:
        return  # torch's own line says why
    yield Finding("devices", "cpu", "ok", f"{found['threads']} threads, {found['cpu capability']}")
    build = f"torch is built for CUDA {found['cuda build']}" if found["cuda build"] else "torch is built for CPUs"
    for index, device in enumerate(found["cuda"]):
        yield Finding("devices", f"cuda:{index}", "ok", f"{device}; {build}, cuDNN {found['cudnn']}")
    if not found["cuda"]:
        yield Finding("devices", "cuda", "missing", f"no GPU found; {build}. Everything runs without one")


if __name__ == "__main__":
    main()
