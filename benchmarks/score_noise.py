"""How far scores move by the luck of which keyframes were in the validation set, and differences between two networks.

Run `python benchmarks/score_noise.py DATA_ROOT VERSION SPLIT results_nusc.json [OTHER.json ...]` with the folder of the
tables, `<packed>/<version>/meta`. Scenes are drawn with replacement, as keyframes of
a scene resemble each other; every draw scores all files on the same scenes, so that the spread of a difference is
that of pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from lidar_mt.metrics.eval_boxes import EvalBoxes, Racks
from lidar_mt.metrics.nuscenes_evaluation import evaluate_boxes
from lidar_mt.metrics.nuscenes_truth import GroundTruth, load_truth
from lidar_mt.metrics.result_reading import read_result_boxes


def scenes_of(data_root: Path, version: str, tokens: list[str]) -> list[list[int]]:
    """Indices of the samples of each scene."""
    rows = msgspec.json.decode((data_root / version / "sample.json").read_bytes())
    scene = {row["token"]: row["scene_token"] for row in rows}
    found: dict[str, list[int]] = {}
    for index, token in enumerate(tokens):
        found.setdefault(scene[token], []).append(index)
    return list(found.values())


def rows_drawn(samples: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64]) -> tuple[npt.NDArray, npt.NDArray]:
    """Rows of the drawn samples, and the place in the draw that each belongs to."""
    order = np.argsort(samples, kind="stable")
    first = np.searchsorted(samples[order], drawn, "left")
    count = np.searchsorted(samples[order], drawn, "right") - first
    place = np.repeat(np.arange(len(drawn)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return order[np.repeat(first, count) + within], place


def drawn_boxes(boxes: EvalBoxes, drawn: npt.NDArray[np.int64]) -> EvalBoxes:
    rows, place = rows_drawn(boxes.sample, drawn)
    return boxes.select(rows)._replace(sample=place)


def drawn_truth(truth: GroundTruth, drawn: npt.NDArray[np.int64]) -> GroundTruth:
    rows, place = rows_drawn(truth.racks.sample, drawn)
    racks: Racks = truth.racks.select(rows)._replace(sample=place)
    tokens = [f"{truth.tokens[index]}:{place}" for place, index in enumerate(drawn)]
    return truth._replace(tokens=tokens, ego_xy=truth.ego_xy[drawn], boxes=drawn_boxes(truth.boxes, drawn), racks=racks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_root", type=Path)
    parser.add_argument("version")
    parser.add_argument("split")
    parser.add_argument("results", nargs="+")
    parser.add_argument("--draws", type=int, default=100)
    args = parser.parse_args()
    truth = load_truth(args.data_root, args.version, args.split)
    files = [
        read_result_boxes(path, truth.tokens).for_samples(truth.tokens, in_their_order=True) for path in args.results
    ]
    scenes = scenes_of(args.data_root, args.version, truth.tokens)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(args.draws):
        drawn = np.array([index for scene in rng.integers(0, len(scenes), len(scenes)) for index in scenes[scene]])
        part = drawn_truth(truth, drawn)
        draws.append([headline(drawn_boxes(boxes, drawn), part) for boxes in files])
    whole, spread = np.array([headline(boxes, truth) for boxes in files]), np.array(draws)
    print(f"{args.draws} draws of {len(scenes)} scenes, {len(truth.tokens)} keyframes; points, one standard deviation")
    for index, path in enumerate(args.results):
        print(f"  {path}\n    {told(whole[index], spread[:, index])}")
        if index:
            print(f"    less the first: {told(whole[index] - whole[0], spread[:, index] - spread[:, 0])}")


def headline(boxes: EvalBoxes, truth: GroundTruth) -> tuple[float, float, float]:
    scores, _ = evaluate_boxes(boxes, truth)
    return scores.nds, scores.mean_ap, scores.class_ap["car"]


def told(values: npt.NDArray, draws: npt.NDArray) -> str:
    spread = draws.std(axis=0, ddof=1)
    names = ("NDS", "mAP", "car AP")
    return ", ".join(f"{n} {100 * v:.2f} +- {100 * s:.2f}" for n, v, s in zip(names, values, spread, strict=True))


if __name__ == "__main__":
    main()
