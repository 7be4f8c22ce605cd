"""The installed packages: what the project asks for, what is there, and whether it can be imported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import NamedTuple

from lidar_mt.environment.findings import Finding
from lidar_mt.environment.isolation import Answer

_DISTRIBUTION = "lidar-mt"
#: Import names that differ from the distribution's.
_IMPORTS = {
    "hydra-core": "hydra",
    "nuscenes-devkit": "nuscenes",
    "ethos-u-vela": "ethosu",
    "spconv-cu120": "spconv",
    "rerun-sdk": "rerun",
    "import-linter": "importlinter",
    "pytest-xdist": "xdist",
}
#: Extras for developers alone, which are not looked at.
_SILENT = ("dev",)
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)\s*([^;]*)(?:;(.*))?$")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


class Requirement(NamedTuple):
    """A distribution that the project names.

    Attributes:
        name: of the distribution.
        bounds: its allowed versions, such as `>=2.11,<2.14`.
        extra: the extra that asks for it, empty where it is always needed.
    """

    name: str
    bounds: str
    extra: str


def probes(requirements: list[Requirement]) -> dict[str, list[str]]:
    """Distribution name -> the probe that imports it, for those that are installed."""
    installed = [each.name for each in requirements if _version(each.name)]
    return {name: ["imports", _IMPORTS.get(name, name.replace("-", "_"))] for name in installed}


def packages(requirements: list[Requirement], answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """One finding per required package, then one per package of the extras.

    Args:
        requirements: what the project declares.
        answers: what `probes` said, by distribution name.
    """
    if not requirements:
        yield Finding("packages", _DISTRIBUTION, "failed", "is not installed", "pip install -c constraints.txt -e .")
        return
    yield Finding("packages", _DISTRIBUTION, "ok", metadata.version(_DISTRIBUTION))
    for each in requirements:
        yield _judge(each, answers.get(each.name))


def declared() -> list[Requirement]:
    """What the installed project names, required packages first; empty where it is not installed."""
    try:
        lines = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        match = _REQUIREMENT.match(line)
        name, bounds, marker = match.groups() if match else (line, "", "")
        extra = _EXTRA.search(marker or "")
        found.append(Requirement(name.lower(), bounds.strip(" ()"), extra.group(1) if extra else ""))
    return sorted((each for each in found if each.extra not in _SILENT), key=lambda each: bool(each.extra))


def _judge(each: Requirement, answer: Answer | None) -> Finding:
    section = f"extra {each.extra}" if each.extra else "packages"
    extra = f"pip install -c constraints.txt -e '.[{each.extra}]'" if each.extra else ""
    advice = extra or f"pip install -c constraints.txt '{each.name}{each.bounds}'"
    if answer is None:
        return Finding(section, each.name, "missing" if each.extra else "failed", "not installed", advice)
    version = _version(each.name)
    if answer.error:
        return Finding(section, each.name, "broken" if each.extra else "failed", f"{version}: {answer.error}", advice)
    if not _in_bounds(version, each.bounds):
        return Finding(section, each.name, "broken", f"{version}, expected {each.bounds}", advice)
    return Finding(section, each.name, "ok", version)


def _version(name: str) -> str:
    try:
        return metadata.version(name) or ""
    except metadata.PackageNotFoundError:
        return ""


def _in_bounds(version: str, bounds: str) -> bool:
    try:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet
        from packaging.version import InvalidVersion
    except ImportError:
        return True
    try:
        return SpecifierSet(bounds).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True
