"""The detection metric scored by the official evaluator itself: minutes instead of seconds, for comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nuscenes import NuScenes

from lidar_mt.metrics.detection_scores import DetectionScores
from lidar_mt.metrics.devkit_evaluation import evaluate_part, evaluate_results
from lidar_mt.metrics.devkit_tables import load_tables, split_tokens
from lidar_mt.metrics.eval_boxes import EvalBoxes
from lidar_mt.metrics.eval_splits import check_tables, resolve_eval_set
from lidar_mt.metrics.nuscenes_detection import NuScenesDetectionMetric


class NuScenesDevkitMetric(NuScenesDetectionMetric):
    """As `NuScenesDetectionMetric`, but the unmodified nuscenes-devkit scores the result file.

    Takes the same arguments. The devkit loads all tables and asks for the map masks.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tables: NuScenes | None = None

    def check_data(self) -> None:
        """Fails before a long training rather than at its first validation; see the base class."""
        super().check_data()
        check_tables(self.data_root, self.version)

    def score_file(self, results_file: str | Path) -> DetectionScores:
        """Scores a result file on the whole split."""
        return evaluate_results(
            results_file, self.data_root, self.version, self.split, self.out_dir, tables=self._tables
        )

    def _split_tokens(self) -> list[str]:
        return split_tokens(self._loaded_tables(), resolve_eval_set(self.version, self.split))

    def _score(
        self,
        path: Path,
        tokens: list[str],  # noqa: ARG002
        boxes: EvalBoxes,  # noqa: ARG002
        *,
        is_partial: bool,
    ) -> DetectionScores:
        if not is_partial:
            return self.score_file(path)
        return evaluate_part(path, self._loaded_tables(), resolve_eval_set(self.version, self.split), self.out_dir)

    def _loaded_tables(self) -> NuScenes:
        if self._tables is None:
            resolve_eval_set(self.version, self.split)  # a wrong split shows before a minute of loading
            self._tables = load_tables(self.data_root, self.version)
        return self._tables
