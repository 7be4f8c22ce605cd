"""Precision-recall curves of a nuScenes evaluation, as its metrics_details.json holds them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lidar_mt.structures.errors import DataError

DETAILS_NAME = "metrics_details.json"


class PrecisionRecall(NamedTuple):
    """What a detector reaches at 101 recalls, each (101,) float64 in [0, 1].

    Attributes:
        recall: 0 to 1, evenly.
        precision: at each recall; 0 beyond the highest one reached.
        confidence: score at which each recall is reached; 0 beyond the highest one reached.
    """

    recall: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]


#: By class name and matching distance [m].
Curves = dict[tuple[str, float], PrecisionRecall]


def read_curves(path: str | os.PathLike[str]) -> Curves:
    """Reads the curves that an evaluation wrote.

    Args:
        path: metrics_details.json of the official evaluator.

    Returns:
        The curves of every class and distance.

    Raises:
        DataError: the file is missing, no JSON or of another form.
    """
    curves = {}
    try:
        content = json.loads(Path(path).read_bytes())
        for key, values in content.items():
            name, distance = key.rsplit(":", 1)
            columns = (np.asarray(values[field], dtype=np.float64) for field in PrecisionRecall._fields)
            curves[name, float(distance)] = PrecisionRecall(*columns)
    except OSError as error:
        raise DataError(f"no curves at {path} ({error.strerror}); evaluate again") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected recall, precision and confidence for each class and distance ({error}); evaluate again"
        ) from error
    return curves
