"""Speed, waiting and gradient norm of a small training whose clock only its own work moves."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch.utils.data import DataLoader, Dataset

from lidar_mt.engine import throughput
from lidar_mt.engine.throughput import GradientNorm, Throughput, resident_gib

LOAD_S, STEP_S, VALIDATION_S = 0.75, 1.0, 100.0


class Clock:
    def __init__(self):
        self.now = 5.0

    def __call__(self):
        return self.now


class Numbers(Dataset):
    def __init__(self, clock):
        self.clock = clock

    def __len__(self):
        return 24

    def __getitem__(self, index):
        self.clock.now += LOAD_S
        return torch.tensor([float(index), 1.0])


class Line(pl.LightningModule):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.norms = []

    def training_step(self, batch, batch_idx):
        self.clock.now += STEP_S
        return ((batch @ self.weight - batch[:, 0]) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        self.clock.now += VALIDATION_S

    def on_before_optimizer_step(self, optimizer):
        self.norms.append(float(np.sqrt((self.weight.grad.double().numpy() ** 2).sum())))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Kept(Logger):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.rows = []

    name = version = "kept"

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step):
        self.rows.append((step, dict(metrics)))

    def values(self, tag):
        return {step: row[tag] for step, row in self.rows if tag in row}


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(throughput.time, "perf_counter", clock)
    return clock


def fit(clock, tmp_path, **settings):
    module, kept = Line(clock), Kept()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=kept,
        callbacks=[Throughput(), GradientNorm()],
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )
    loader = DataLoader(Numbers(clock), batch_size=2)
    trainer.fit(module, loader, DataLoader(Numbers(clock), batch_size=24))
    return module, kept


def test_means_between_logs_leave_validation_out(clock, tmp_path):
    # 12 steps an epoch, 2 epochs; a batch of 2 takes 2 x 0.75 s to load and 1 s to work on.
    _, kept = fit(clock, tmp_path, max_epochs=2, log_every_n_steps=4, val_check_interval=6)
    speed, share, step = (kept.values(f"speed/{name}") for name in ("samples_per_second", "data_share", "step_ms"))
    assert list(speed) == [3, 7, 11, 15, 19, 23]
    assert list(speed.values()) == pytest.approx([2 / 2.5] * 6)
    assert list(share.values()) == pytest.approx([0.6] * 6)
    assert list(step.values()) == pytest.approx([2500] * 6)


def test_a_step_of_several_batches_counts_all_of_them(clock, tmp_path):
    _, kept = fit(clock, tmp_path, max_epochs=1, log_every_n_steps=2, accumulate_grad_batches=3)
    assert kept.values("speed/samples_per_second") == pytest.approx({1: 0.8, 3: 0.8})
    assert kept.values("speed/step_ms") == pytest.approx({1: 7500, 3: 7500})


def test_gradient_norm_is_that_before_clipping(clock, tmp_path):
    module, kept = fit(clock, tmp_path, max_epochs=1, log_every_n_steps=5, gradient_clip_val=1e-3)
    found = kept.values("optimizer/gradient_norm")
    assert list(found) == [4, 9]
    assert list(found.values()) == pytest.approx([module.norms[4], module.norms[9]], rel=1e-5)
    assert min(found.values()) > 0.1


def test_resident_memory_follows_what_is_held():
    before = resident_gib()
    if before is None:
        pytest.skip("this system does not tell it")
    # An eighth of a GiB, every page touched; from the system, since malloc may give back what was freed before.
    with mmap.mmap(-1, 2**27) as held:
        held.write(b"1" * len(held))
        assert resident_gib() - before == pytest.approx(len(held) / 2**30, abs=0.03)
