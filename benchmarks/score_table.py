"""One table of the scores of many runs: the same training with several seeds is one row, with its spread.

Run `python benchmarks/score_table.py RUNS`, with the folder that holds the runs (`make sim-benchmark` calls it). It
reads what `lidar_mt.evaluate` keeps in `RUNS/<name>_seed<N>/published/scores`. Below the means of each form stand the
differences to the float network of the same seed, as mean and range over the seeds.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

COLUMNS = ("NDS", "mAP", "car AP", "mIoU")
FORMS = ("float", "calibrate", "qat", "int8_integer", "int8_onnxruntime", "int8_openvino", "int8_litert")

#: Scores by form, then by seed, then by column.
Group = dict[str, dict[int, dict[str, float]]]


def read_groups(runs: Path) -> dict[str, Group]:
    """The scores of all runs, by name without seed and by data."""
    groups: dict[str, Group] = {}
    for file in sorted(runs.glob("*/published/scores/*.json")):
        name = re.fullmatch(r"(.*?)(?:_seed)?(\d+)", file.parents[2].name)
        if name is None:
            continue
        found = msgspec.json.decode(file.read_bytes())
        values = {key: value for key, value in found["values"].items() if value is not None}
        group = groups.setdefault(f"{name[1]}, {found['data']}:", {})
        group.setdefault(found["name"], {})[int(name[2])] = values
    return groups


def row(title: str, samples: Sequence[dict[str, float]], sign: str = "") -> str:
    """Mean and range of each column, in percent; one sample has no range."""
    cells = [cell([100 * values[column] for values in samples if column in values], sign) for column in COLUMNS]
    return f"| {title} | " + " | ".join(cells) + " |"


def cell(values: Sequence[float], sign: str) -> str:
    if not values:
        return "-"
    mean = f"{statistics.mean(values):{sign}.2f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):{sign}.2f} to {max(values):{sign}.2f})"


def table(name: str, group: Group) -> list[str]:
    """Rows of one training."""
    rows = []
    reference = group.get("float", {})
    for form in (*FORMS, *sorted(set(group) - set(FORMS))):
        scores = group.get(form, {})
        if not scores:
            continue
        seeds = ", ".join(str(seed) for seed in sorted(scores))
        rows.append(row(f"{name} {form}, seed {seeds}", list(scores.values())))
        common = sorted(set(scores) & set(reference))
        if form != "float" and common:
            rows.append(row("less float", [difference(scores[seed], reference[seed]) for seed in common], "+"))
    return rows


def difference(values: dict[str, float], reference: dict[str, float]) -> dict[str, float]:
    return {key: values[key] - reference[key] for key in values.keys() & reference.keys()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    groups = read_groups(parser.parse_args().runs)
    if not groups:
        parser.error("no scores found; expected RUNS/<name>_seed<N>/published/scores/<form>_<data>.json")
    print("| % | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, group in groups.items():
        print("\n".join(table(name, group)))


if __name__ == "__main__":
    main()
