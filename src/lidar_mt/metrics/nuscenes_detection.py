"""The nuScenes detection metric of a validation loop: collects detections over all ranks, scores them officially."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lidar_mt.metrics.detection_protocol import DETECTION_NAMES, DISTANCES_M, TP_ERRORS
from lidar_mt.metrics.detection_scores import DetectionScores, undefined_names
from lidar_mt.metrics.eval_boxes import EvalBoxes
from lidar_mt.metrics.eval_splits import check_tables, resolve_eval_set
from lidar_mt.metrics.nuscenes_evaluation import evaluate_and_write, evaluate_part, evaluate_results
from lidar_mt.metrics.nuscenes_results import LIDAR_ONLY_META, detections_to_boxes, write_result_boxes
from lidar_mt.metrics.nuscenes_truth import TRUTH_TABLES, GroundTruth, load_truth
from lidar_mt.structures.boxes import BOX_SIZE
from lidar_mt.structures.classes import DETECTION_CLASSES
from lidar_mt.structures.errors import ConfigError, DataError, ResultError
from lidar_mt.structures.outputs import Detections
from lidar_mt.structures.sample import Batch

_TOKEN_BYTES = 64  # nuScenes tokens have 32
_log = logging.getLogger(__name__)

# Shape of one row and dtype of each state. Between ranks only tensors travel, never pickled objects.
_STATES: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
    "token_bytes": ((_TOKEN_BYTES,), torch.uint8),
    "counts": ((), torch.int64),
    "poses": ((4, 4), torch.float64),
    "boxes": ((BOX_SIZE,), torch.float32),
    "scores": ((), torch.float32),
    "labels": ((), torch.int64),
}


class NuScenesDetectionMetric(Metric):
    """NDS, mAP, the five true-positive errors and AP per class and distance of all samples seen by all ranks.

    `compute` writes the result file, metrics_summary.json and metrics_details.json into `out_dir` on rank 0; the other
    ranks get the numbers from it. The numbers are those of the official evaluator, taken in seconds and without the
    devkit; the ground truth is read once. Samples that several ranks have seen (padding of a distributed sampler)
    count once.

    Args:
        data_root: folder of the official layout with the ground truth.
        version: nuScenes version.
        split: train, val, a devkit split such as mini_val, or a custom one.
        out_dir: folder for results_nusc.json and the evaluator's files.
        class_names: name of each label.
        partial: what to do when samples of the split were not seen, as with a limited number of validation batches:
            `score` the seen ones (and say so), `skip` the evaluation and return nothing, or raise an `error`.

    Attributes:
        detection_scores: scores of the last `compute`, on rank 0 only.

    Raises:
        ConfigError: unknown class name or value of `partial`.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    token_bytes: list[Tensor]
    counts: list[Tensor]
    poses: list[Tensor]
    boxes: list[Tensor]
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(
        self,
        data_root: str | Path,
        version: str,
        split: str,
        out_dir: str | Path,
        class_names: Sequence[str] = DETECTION_CLASSES,
        partial: Literal["score", "skip", "error"] = "score",
    ) -> None:
        super().__init__()
        unknown = [name for name in class_names if name not in DETECTION_NAMES]
        if unknown:
            raise ConfigError(
                f"metric: the nuScenes evaluation does not know the classes {', '.join(unknown)}, only "
                f"{', '.join(DETECTION_NAMES)}; metric=none trains and evaluates without it"
            )
        if partial not in ("score", "skip", "error"):
            raise ConfigError(f"metric: partial={partial}; expected score, skip or error")
        self.data_root, self.version, self.split = Path(data_root), version, split
        self.out_dir, self.class_names, self.partial = Path(out_dir), tuple(class_names), partial
        self.detection_scores: DetectionScores | None = None
        self._truth: GroundTruth | None = None
        for name in _STATES:
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self._start_states()

    def check_data(self) -> None:
        """Fails before a long training rather than at its first validation.

        Raises:
            ConfigError: the split does not belong to the version.
            DataError: the version's tables are missing.
        """
        resolve_eval_set(self.version, self.split)
        check_tables(self.data_root, self.version, TRUTH_TABLES)

    def reset(self) -> None:
        """Forgets all samples."""
        super().reset()
        self._start_states()

    def _start_states(self) -> None:
        # A rank without a sample must still gather tensors of the right shape and dtype, or the others wait for ever.
        for name, (shape, dtype) in _STATES.items():
            setattr(self, name, [torch.zeros((0, *shape), dtype=dtype, device=self.device)])

    def update(
        self,
        tokens: Sequence[str],
        detections: Sequence[Detections],
        ego_from_lidar: Tensor,
        global_from_ego: Tensor,
    ) -> None:
        """Adds the detections of a batch.

        Args:
            tokens: B sample tokens.
            detections: B decoded samples, boxes in the keyframe's LiDAR frame.
            ego_from_lidar: (B, 4, 4) float64.
            global_from_ego: (B, 4, 4) float64.

        Raises:
            DataError: a token is longer than 64 bytes.
        """
        # Composed once in float64: global coordinates reach kilometres, and two projections of the yaw lose accuracy.
        poses = global_from_ego.double().cpu() @ ego_from_lidar.double().cpu()
        rows = {
            "token_bytes": encode_tokens(tokens),
            "counts": torch.tensor([len(d.scores) for d in detections]),
            "poses": poses,
            "boxes": torch.cat([d.boxes for d in detections]),
            "scores": torch.cat([d.scores for d in detections]),
            "labels": torch.cat([d.labels for d in detections]),
        }
        for name, (_, dtype) in _STATES.items():
            getattr(self, name).append(rows[name].detach().to(self.device, dtype))

    def update_batch(self, predictions: Sequence[Detections], batch: Batch) -> None:
        """Adds what the detection decoder made of a batch; see `update`."""
        self.update(batch.tokens, predictions, batch.ego_from_lidar, batch.global_from_ego)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of what `compute` returns, without those that no data set defines, such as the speed of a cone."""
        return tuple(name for name in _flat_names() if name not in undefined_names())

    def compute(self) -> dict[str, float]:
        """Scores everything seen since the last reset.

        Returns:
            `DetectionScores.flat` and `samples`, the number of samples scored; empty where a partial validation
            is skipped.

        Raises:
            ConfigError: unknown split.
            DataError: the ground truth is missing or damaged.
            ResultError: the samples do not fit the split, or rank 0 failed.
        """
        names = _flat_names()
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self._evaluate()
        # The first value tells the other ranks how it went: 0 failed, 1 scored, 2 skipped.
        values = torch.zeros(1 + len(names), dtype=torch.float64, device=self.device)
        if torch.distributed.get_rank() == 0:
            try:
                flat = self._evaluate()
                values[0] = 1 if flat else 2
                if flat:
                    values[1:] = torch.tensor([flat[name] for name in names], dtype=torch.float64)
            finally:
                torch.distributed.broadcast(values, src=0)
        else:
            torch.distributed.broadcast(values, src=0)
        status, *numbers = values.tolist()
        if status == 0:
            raise ResultError("rank 0 could not score the detections; its own message says why")
        return dict(zip(names, numbers, strict=True)) if status == 1 else {}

    def score_file(self, results_file: str | Path) -> DetectionScores:
        """Scores a result file on the whole split instead of what was seen; see `evaluate_results`."""
        return evaluate_results(results_file, self.data_root, self.version, self.split, self.out_dir, truth=self._truth)

    def _evaluate(self) -> dict[str, float]:
        expected = self._split_tokens()
        tokens, boxes = self._results(expected)
        missing = len(set(expected).difference(tokens))
        if missing and self.partial == "skip":
            _log.warning("nuScenes evaluation skipped: %d of %d samples not seen", missing, len(expected))
            return {}
        is_partial = missing > 0 and self.partial == "score"
        if is_partial:
            _log.warning("nuScenes scores of %d of %d samples only", len(expected) - missing, len(expected))
        path = write_result_boxes(self.out_dir / "results_nusc.json", tokens, boxes)
        self.detection_scores = scores = self._score(path, tokens, boxes, is_partial=is_partial)
        return {**scores.flat(), "samples": float(scores.num_samples)}

    def _split_tokens(self) -> list[str]:
        return self._ground_truth().tokens

    def _ground_truth(self) -> GroundTruth:
        if self._truth is None:
            eval_set = resolve_eval_set(self.version, self.split)
            self._truth = load_truth(self.data_root, self.version, eval_set)
        return self._truth

    def _score(self, path: Path, tokens: list[str], boxes: EvalBoxes, *, is_partial: bool) -> DetectionScores:
        truth = self._ground_truth()
        fits = tokens == truth.tokens or (is_partial and tokens and set(tokens) <= set(truth.tokens))
        if not (fits and _is_sound(boxes)):
            # Reading the file names what is wrong.
            return evaluate_part(path, truth, self.out_dir) if is_partial else self.score_file(path)
        part = truth.only(tokens) if is_partial else truth
        return evaluate_and_write(boxes, part, self.out_dir, LIDAR_ONLY_META, is_partial=is_partial)

    def _results(self, expected: Sequence[str]) -> tuple[list[str], EvalBoxes]:
        """The gathered samples, each token once, in the order of the split whatever rank has seen them."""
        state = {name: dim_zero_cat(getattr(self, name)).cpu() for name in _STATES}
        counts = state["counts"].tolist()
        parts = list(zip(*(torch.split(state[name], counts) for name in ("boxes", "scores", "labels")), strict=True))
        seen: dict[str, int] = {}
        for index, token in enumerate(decode_tokens(state["token_bytes"])):
            seen.setdefault(token, index)
        place = {token: index for index, token in enumerate(expected)}
        tokens = sorted(seen, key=lambda token: place.get(token, len(place)))
        rows = [seen[token] for token in tokens]
        detections = [Detections(*parts[row]) for row in rows]
        return tokens, detections_to_boxes(detections, state["poses"].numpy()[rows], self.class_names)


def _is_sound(boxes: EvalBoxes) -> bool:
    numbers = (boxes.center, boxes.size, boxes.rotation, boxes.velocity, boxes.score)
    return all(bool(np.isfinite(column).all()) for column in numbers) and bool((boxes.size > 0).all())


def encode_tokens(tokens: Sequence[str]) -> Tensor:
    """Sample tokens as a tensor that can travel between ranks.

    Args:
        tokens: B strings.

    Returns:
        (B, 64) uint8, UTF-8 padded with zeros.

    Raises:
        DataError: a token is longer than 64 bytes.
    """
    rows = torch.zeros(len(tokens), _TOKEN_BYTES, dtype=torch.uint8)
    for row, token in zip(rows, tokens, strict=True):
        encoded = token.encode()
        if len(encoded) > _TOKEN_BYTES:
            raise DataError(f"sample token {token!r} has {len(encoded)} bytes, at most {_TOKEN_BYTES} are supported")
        row[: len(encoded)] = torch.tensor(list(encoded), dtype=torch.uint8)
    return rows


def decode_tokens(rows: Tensor) -> list[str]:
    """The inverse of `encode_tokens`.

    Example:
        >>> decode_tokens(encode_tokens(["a", "b2"]))
        ['a', 'b2']
    """
    return [bytes(row).rstrip(b"\0").decode() for row in rows.tolist()]


def _flat_names() -> list[str]:
    """Names of the values that `compute` returns, in a fixed order."""
    names = ["NDS", "mAP", *TP_ERRORS, "samples"]
    for detection_name in DETECTION_NAMES:
        names += [f"AP/{detection_name}", *(f"AP/{detection_name}@{distance}" for distance in DISTANCES_M)]
        names += [f"{error[1:]}/{detection_name}" for error in TP_ERRORS]
    return names
