"""The data and checkpoints that the configuration points to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lidar_mt.environment.findings import Finding
from lidar_mt.environment.isolation import ask


def raw_data(root: Path) -> Iterator[Finding]:
    """The table folders of a raw nuScenes root, and which sensor folders are there."""
    versions = sorted(path.parent.name for path in _glob(root, "v1.0-*/sample.json"))
    advice = f"unpack nuScenes into {root}, or write a simulated set: python -m lidar_mt.simulate out={root}"
    if not versions:
        yield Finding("data", "raw", "missing", f"no tables under {root}", advice)
        return
    folders = [name for name in ("samples/LIDAR_TOP", "sweeps/LIDAR_TOP", "lidarseg", "maps") if (root / name).is_dir()]
    yield Finding("data", "raw", "ok", f"{', '.join(versions)} with {', '.join(folders) or 'no sensor data'} in {root}")


def packed_data(root: Path) -> Iterator[Finding]:
    """Every packed split: counts and manifest where it can be read, the reason where it cannot."""
    stores = sorted(path for path in _glob(root, "*/*_lmdb") if path.is_dir())
    if not stores:
        yield Finding("data", "packed", "missing", f"no packed split under {root}", "make pack-data VERSION=v1.0-mini")
    for path, answer in zip(stores, ask(["store", str(path)] for path in stores), strict=True):
        name = f"{path.parent.name}/{path.name.removesuffix('_lmdb')}"
        if answer.error:
            reason = answer.error.removeprefix("lidar_mt.structures.errors.")
            advice = f"python -m lidar_mt.verify_data store={path}"
            yield Finding("data", name, "broken", reason, advice)
            continue
        found = answer.value
        labels = "lidarseg" if found["lidarseg"] else "no lidarseg"
        size = f"{found['keyframes']} keyframes, {found['scenes']} scenes, {labels}, {found['bytes'] / 1e6:.1f} MB"
        yield Finding("data", name, "ok", f"{size}, manifest {found['manifest']}")
    for path in sorted(_glob(root, "*/nuscenes_dbinfos_*.pkl")):
        yield Finding("data", f"{path.parent.name}/GT database", "ok", path.name)


def runs(root: Path) -> Iterator[Finding]:
    """Published checkpoints, read and compared with their checksums, and how to look at the training curves."""
    checkpoints = sorted(_glob(root, "*/published/*.ckpt"))
    if not checkpoints:
        yield Finding("runs", "checkpoints", "missing", f"none published under {root}", "python -m lidar_mt.train")
    for path, answer in zip(checkpoints, ask(["checkpoint", str(path)] for path in checkpoints), strict=True):
        name = f"{path.parent.parent.name}/{path.stem}"
        if answer.error:
            reason = answer.error.removeprefix("lidar_mt.structures.errors.")
            yield Finding("runs", name, "broken", reason, _replacement(path))
            continue
        size, described = f"{answer.value['bytes'] / 1e6:.1f} MB", answer.value["described"]
        yield Finding(
            "runs",
            name,
            "ok" if described else "broken",
            f"{size}, checksums fit" if described else f"{size}, no {answer.value['config']} beside it",
        )
    curves = len(_glob(root, "*/*/*/tensorboard/events.*"))
    advice = f"tensorboard --logdir {root}" if curves else ""
    yield Finding("runs", "TensorBoard", "ok", f"{curves} runs with curves", advice)


def _replacement(published: Path) -> str:
    """What to do about a damaged published checkpoint: its training kept another copy."""
    # As config/checkpoints.py finds it, which imports torch; this report has to come where torch does not load.
    stage, _, kind = published.stem.rpartition("-")
    run = published.parent.parent
    copies = sorted(_glob(run, f"{stage}/*/checkpoints/{kind}.ckpt"))
    if copies:
        return f"cp {copies[-1]} {published}"
    return f"train again as before: python -m lidar_mt.train stage={stage} run_name={run.name}" if stage else ""


def _glob(root: Path, pattern: str) -> list[Path]:
    """Matching paths; none where a folder is missing or may not be read."""
    try:
        return list(root.glob(pattern))
    except OSError:
        return []
