import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lidar_mt.config import CONF_DIR, instantiate
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.outputs import SegmentationOutput
from lidar_mt.tasks.base import Task
from tests.helpers.task_cases import REFERENCE_GRID, make_batch, random_boxes, random_output


def _configured_tasks():
    parts = [OmegaConf.load(f"{CONF_DIR}/task/{name}.yaml") for name in ("segmentation", "detection")]
    cfg = OmegaConf.create(
        {
            "grid": OmegaConf.load(f"{CONF_DIR}/grid/default.yaml"),
            "classes": OmegaConf.load(f"{CONF_DIR}/classes/nuscenes.yaml"),
            "task": OmegaConf.merge(*parts),
        }
    )
    return {name: instantiate(node) for name, node in cfg.task.items()}


def _batch(with_labels):
    rng = np.random.default_rng(0)
    boxes = [random_boxes(rng, count, 51.2) for count in (30, 4)]
    labels = [rng.integers(-1, 10, len(rows)) for rows in boxes]
    return make_batch(boxes, labels, torch.randint(-1, 2, (2, 512, 512)) if with_labels else None)


def _output():
    return {"segmentation": SegmentationOutput(torch.randn(2, 2, 128, 128)), "detection": random_output(0, 2, 128)}


def test_the_configured_tasks_give_thirteen_terms_with_readable_names():
    tasks, batch, output = _configured_tasks(), _batch(with_labels=True), _output()
    terms = {k: v for name, task in tasks.items() for k, v in task.loss(output[name], task.target(batch)).items()}
    assert len(terms) == 13
    assert {"detection/car/heatmap", "detection/pedestrian-traffic_cone/box", "segmentation/cross_entropy"} <= set(
        terms
    )
    assert all(value.ndim == 0 and torch.isfinite(value) for value in terms.values())
    assert {name: (task.name, task.weight) for name, task in tasks.items()} == {
        "segmentation": ("segmentation", 80.0),
        "detection": ("detection", 1.0),
    }


def test_the_configured_tasks_decode():
    predictions = {name: task.decode(_output()[name]) for name, task in _configured_tasks().items()}
    assert predictions["segmentation"].shape == (2, 512, 512)
    assert len(predictions["detection"]) == 2


def test_the_configured_numbers_are_those_of_the_reference():
    detection = OmegaConf.load(f"{CONF_DIR}/task/detection.yaml").detection
    assert detection.loss.channel_weights == {"reg": 1, "height": 1, "dim": 1, "rot": 1, "vel": 0.2}
    task = _configured_tasks()["detection"]
    assert task._target.grid == REFERENCE_GRID
    assert task._decoder.suppress.iou_threshold == 0.2


def test_a_batch_without_labels_for_a_task_gives_no_terms():
    tasks, batch = _configured_tasks(), _batch(with_labels=False)
    segmentation = tasks["segmentation"]
    assert segmentation.target(batch) is None
    assert segmentation.loss(_output()["segmentation"], None) == {}
    assert len(tasks["detection"].loss(_output()["detection"], tasks["detection"].target(batch))) == 12


def test_a_third_task_needs_no_more_than_three_callables():
    count = Task(
        "count",
        2.0,
        target=lambda batch: torch.tensor([float(len(rows)) for rows in batch.boxes]),
        loss=lambda output, wanted: {"l1": (output - wanted).abs().sum()},
        decoder=lambda output: output.round(),
    )
    terms = count.loss(torch.tensor([30.0, 6.0]), count.target(_batch(with_labels=False)))
    assert {name: value.item() for name, value in terms.items()} == {"count/l1": 2.0}
    assert count.decode(torch.tensor([1.6])).item() == 2


def test_a_negative_weight_is_refused():
    with pytest.raises(ConfigError, match=r"task\.count\.weight"):
        Task("count", -1.0, lambda batch: None, lambda output, wanted: {}, lambda output: output)


def test_tasks_tell_the_names_of_their_terms():
    tasks, batch, output = _configured_tasks(), _batch(with_labels=True), _output()
    for name, task in tasks.items():
        assert task.term_names == tuple(task.loss(output[name], task.target(batch)))


def test_a_loss_that_tells_no_names_has_none():
    parts = {"target": lambda batch: None, "decoder": lambda output: output}
    assert Task("count", 1.0, loss=lambda output, wanted: {"l1": output}, **parts).term_names is None
