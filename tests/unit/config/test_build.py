from __future__ import annotations

import pytest
import pytorch_lightning as pl

from lidar_mt.config.build import total_steps
from lidar_mt.structures.errors import ConfigError


def trainer(**settings: object) -> pl.Trainer:
    return pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **{"max_epochs": 3, **settings})


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, 30),
        ({"accumulate_grad_batches": 4}, 9),
        ({"limit_train_batches": 7}, 21),
        ({"limit_train_batches": 0.5}, 15),
        ({"max_steps": 12}, 12),
        ({"val_check_interval": 10}, 30),
        ({"val_check_interval": 25, "check_val_every_n_epoch": None}, 30),
    ],
)
def test_the_length_of_a_training(settings: dict[str, object], steps: int) -> None:
    assert total_steps(trainer(**settings), 10) == steps


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"limit_train_batches": 0}, "trainer.limit_train_batches=0 leaves no batch"),
        ({"limit_train_batches": 0.01}, "leaves no batch"),
        ({"val_check_interval": 11}, "trainer.val_check_interval=11: an epoch has 10 batches"),
    ],
)
def test_a_training_that_cannot_be_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        total_steps(trainer(**settings), 10)
