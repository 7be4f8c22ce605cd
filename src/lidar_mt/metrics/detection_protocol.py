"""The rules of the nuScenes detection benchmark: classes, ranges, distances and weights of `detection_cvpr_2019`."""

from __future__ import annotations

from typing import Any

#: The evaluator looks at a box only within this distance of the ego vehicle [m]. The order of the classes is the
#: evaluator's own, in which it sums and writes; a label of this package's evaluation is an index into it.
CLASS_RANGE_M: dict[str, int] = {
    "car": 50,
    "truck": 50,
    "bus": 50,
    "trailer": 50,
    "construction_vehicle": 50,
    "pedestrian": 40,
    "motorcycle": 40,
    "bicycle": 40,
    "traffic_cone": 30,
    "barrier": 30,
}
DETECTION_NAMES = tuple(CLASS_RANGE_M)

ATTRIBUTE_NAMES = (
    "pedestrian.moving",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "cycle.with_rider",
    "cycle.without_rider",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)

#: A prediction matches a truth whose centre is nearer than this on the ground [m]; AP is the mean over all four.
DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
#: The distance whose matches give the true-positive errors [m].
TP_DISTANCE_M = 2.0
#: Recall and precision up to here do not count.
MIN_RECALL = 0.1
MIN_PRECISION = 0.1
#: The evaluator refuses a sample with more boxes.
MAX_BOXES_PER_SAMPLE = 500
#: Weight of mAP in NDS; each of the five errors weighs 1.
MEAN_AP_WEIGHT = 5

#: Recalls at which the curves are sampled, 0 to 1.
NUM_RECALLS = 101

#: True-positive errors in the evaluator's order.
ERROR_NAMES = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
#: Name of each mean true-positive error and the evaluator's key of it; without the m it is the error of one class.
TP_ERRORS = dict(zip(("mATE", "mASE", "mAOE", "mAVE", "mAAE"), ERROR_NAMES, strict=True))
#: Errors that mean nothing for a class.
UNDEFINED_ERRORS: dict[str, tuple[str, ...]] = {
    "traffic_cone": ("orient_err", "vel_err", "attr_err"),
    "barrier": ("vel_err", "attr_err"),
}
#: A barrier's two ends look alike, so its heading counts up to half a turn.
HALF_TURN_CLASS = "barrier"

#: Predicted and true two-wheelers inside a bicycle rack do not count.
RACK_CATEGORY = "static_object.bicycle_rack"
RACK_CLASSES = ("bicycle", "motorcycle")


def config_record() -> dict[str, Any]:
    """The rules as the evaluator writes them into metrics_summary.json."""
    return {
        "class_range": dict(CLASS_RANGE_M),
        "dist_fcn": "center_distance",
        "dist_ths": list(DISTANCES_M),
        "dist_th_tp": TP_DISTANCE_M,
        "min_recall": MIN_RECALL,
        "min_precision": MIN_PRECISION,
        "max_boxes_per_sample": MAX_BOXES_PER_SAMPLE,
        "mean_ap_weight": MEAN_AP_WEIGHT,
    }
