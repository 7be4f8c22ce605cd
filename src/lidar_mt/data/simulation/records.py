"""Rows of the thirteen nuScenes tables, and of lidarseg, with tokens that depend on the seed alone.

Source: nuScenes schema, https://github.com/nutonomy/nuscenes-devkit/blob/master/docs/schema_nuscenes.md
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from lidar_mt.data.simulation.taxonomy import ATTRIBUTES, LIDARSEG_NAMES, SENSORS, VISIBILITY

Record = dict[str, Any]
Tables = dict[str, list[Record]]

#: Categories without a description of their own are scenery that only lidarseg names.
_ANNOTATED = ("human.", "vehicle.", "movable_object.", "static_object.", "animal")


@dataclass(frozen=True)
class Namer:
    """Makes tokens, file names and random seeds of one data set.

    Attributes:
        seed: seed of the data set.
        version: nuScenes version name.
    """

    seed: int
    version: str

    def token(self, *parts: object) -> str:
        """32 hexadecimal digits, the same for the same parts, seed and version."""
        return self._digest(*parts).hex()[:32]

    def entropy(self, *parts: object) -> int:
        """A seed for a random generator, independent for different parts."""
        return int.from_bytes(self._digest("random", *parts)[:16], "little")

    def _digest(self, *parts: object) -> bytes:
        text = "/".join(str(part) for part in (self.seed, self.version, *parts))
        return hashlib.sha256(text.encode()).digest()


def shared_tables(name: Namer) -> Tables:
    """The tables that do not depend on scenes: attribute, category, sensor, visibility."""
    return {
        "attribute": [
            {"token": name.token("attribute", key), "name": key, "description": text}
            for key, text in ATTRIBUTES.items()
        ],
        "category": [
            {"token": name.token("category", key), "name": key, "description": _describe(key), "index": index}
            for index, key in enumerate(LIDARSEG_NAMES)
        ],
        "sensor": [
            {"token": name.token("sensor", channel), "channel": channel, "modality": modality}
            for channel, modality in SENSORS.items()
        ],
        "visibility": [
            {"token": key, "level": level, "description": text} for key, (level, text) in VISIBILITY.items()
        ],
    }


def _describe(category: str) -> str:
    return "Simulated object." if category.startswith(_ANNOTATED) else "Simulated surroundings."


def link(records: list[Record]) -> list[Record]:
    """Fills `prev` and `next` of records that follow each other; returns the same list."""
    for i, record in enumerate(records):
        record["prev"] = records[i - 1]["token"] if i else ""
        record["next"] = records[i + 1]["token"] if i + 1 < len(records) else ""
    return records


def merge(parts: list[Tables]) -> Tables:
    """Concatenates tables in the order of `parts`."""
    out: Tables = {}
    for part in parts:
        for table, records in part.items():
            out.setdefault(table, []).extend(records)
    return out
