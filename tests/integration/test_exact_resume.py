"""A training that is stopped and resumed ends with the weights, bit by bit, of one that ran through."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from lidar_mt.data.packing import pack_split
from lidar_mt.engine.checkpoint import read_checkpoint
from lidar_mt.structures.errors import CheckpointError
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes
from tests.helpers.training import Stop, difference, train

BASE = (f"data.version={VERSION}", "trainer.max_epochs=3")
PLAIN = (*BASE,)
#: Windows of 2, 2 and 1 batches in an epoch of 5; validation after batch 2 and 4; the average of the weights.
ALL = (
    *BASE,
    "trainer.accumulate_grad_batches=2",
    "callbacks=ema",
    "callbacks.ema.decay=0.8",
    "trainer.val_check_interval=2",
)
#: Batch or validation batch, counted over the run, at which the signal comes.
STOPS = {
    "first step": {"train": 1},
    "within an epoch": {"train": 3},
    "within an accumulation": {"train": 8},
    "before the last batch": {"train": 4},
    "end of an epoch": {"train": 5},
    "first step of the second epoch": {"train": 6},
    "within a validation": {"val": 2},
    "end of a validation": {"val": 5},
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Five training and five validation keyframes, two sweeps each."""
    root = tmp_path_factory.mktemp("resume")
    write_raw_nuscenes(root / "raw", keyframes=5, between=1, scenes=("scene-0103", "scene-0061"))
    for split in ("train", "val"):
        pack_split(root / "raw", VERSION, split, root / "packed")
    return root / "packed"


@pytest.fixture(scope="module")
def references(packed, tmp_path_factory):
    """Uninterrupted runs by their overrides, each made once."""
    made = {}

    def get(overrides):
        if overrides not in made:
            made[overrides] = train(tmp_path_factory.mktemp("through"), packed, overrides)
        return made[overrides]

    return get


def assert_exact(reference, packed, folder, overrides, *stops):
    """Stops as asked, goes on after each stop, and compares everything with the reference."""
    losses, last = [], None
    for number, stop in enumerate(stops):
        part = train(folder / str(number), packed, overrides, Stop(**stop), resume=last)
        assert part.stopped
        losses, last = losses + part.losses, part.last
    end = train(folder / "end", packed, overrides, resume=last)
    assert not end.stopped
    assert losses + end.losses == reference.losses
    assert difference(reference, end) == 0.0
    assert end.scores == reference.scores
    assert end.best == reference.best
    assert read_checkpoint(end.last)["global_step"] == read_checkpoint(reference.last)["global_step"]


@pytest.mark.parametrize("name", ["within an epoch", "within a validation"])
def test_a_stopped_run_goes_on_exactly(packed, references, tmp_path, name):
    assert_exact(references(PLAIN), packed, tmp_path, PLAIN, STOPS[name])


def test_with_accumulation_average_and_loader_processes_stopped_twice(packed, references, tmp_path):
    stops = (STOPS["within an accumulation"], STOPS["first step"])
    assert_exact(references(ALL), packed, tmp_path, (*ALL, "data.num_workers=2"), *stops)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("overrides", [PLAIN, ALL], ids=["plain", "all"])
@pytest.mark.parametrize("name", STOPS)
def test_every_stop_point_twice_in_a_row(packed, references, tmp_path, name, overrides, workers):
    stops = (STOPS[name], {"train": 2})
    assert_exact(references(overrides), packed, tmp_path, (*overrides, f"data.num_workers={workers}"), *stops)


@pytest.mark.slow
def test_a_limit_in_steps_and_balanced_epochs(packed, references, tmp_path):
    overrides = (*BASE, "+trainer.max_steps=12", "data.cbgs=true", "data.cbgs_new_draw=true", "trainer.max_epochs=9")
    assert_exact(references(overrides), packed, tmp_path, overrides, {"train": 3}, {"train": 4})


@pytest.mark.parametrize("moved", [False, True])
def test_the_best_checkpoint_can_be_resumed_and_its_score_goes_along(packed, references, tmp_path, moved):
    reference = references(PLAIN)
    part = train(tmp_path / "part", packed, PLAIN, Stop(train=8))
    folder = (tmp_path / "part").rename(tmp_path / "moved") if moved else tmp_path / "part"
    best = folder / "checkpoints/best.ckpt"
    assert best.is_file()
    end = train(tmp_path / "end", packed, PLAIN, resume=best)
    assert difference(reference, end) == 0.0
    assert end.best == reference.best
    assert (tmp_path / "end/checkpoints/best.ckpt").is_file()
    assert part.stopped


class Early(Stop):
    """Sends the signal while Lightning starts, before the first step."""

    def on_train_start(self, trainer, pl_module):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_before_the_first_step_is_obeyed_after_it(packed, references, tmp_path):
    part = train(tmp_path / "part", packed, PLAIN, Early())
    assert part.stopped
    assert len(part.losses) == 1
    end = train(tmp_path / "end", packed, PLAIN, resume=part.last)
    assert difference(references(PLAIN), end) == 0.0


def test_other_data_in_the_middle_of_an_epoch_is_refused(packed, tmp_path):
    part = train(tmp_path / "part", packed, PLAIN, Stop(train=2))
    with pytest.raises(CheckpointError, match=r"data\.train_split"):
        train(tmp_path / "end", packed, (*PLAIN, "data.cbgs=true"), resume=part.last)


def test_another_batch_size_in_the_middle_of_an_epoch_is_refused(packed, tmp_path):
    part = train(tmp_path / "part", packed, PLAIN, Stop(train=2))
    with pytest.raises(CheckpointError, match=r"after batch 2 of epoch 1 with data.batch_size=1 \(now 2\)"):
        train(tmp_path / "end", packed, (*PLAIN, "data.batch_size=2"), resume=part.last)


def test_at_the_start_of_an_epoch_another_batch_size_is_fine(packed, tmp_path):
    part = train(tmp_path / "part", packed, (*PLAIN, "trainer.max_epochs=1"))
    end = train(tmp_path / "end", packed, (*BASE, "data.batch_size=3"), resume=part.last)
    assert len(end.losses) == 4
    assert all(torch.isfinite(torch.tensor(end.losses)))
