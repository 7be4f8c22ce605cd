from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from lidar_mt.engine.nan_guard import NanGuard
from lidar_mt.structures.errors import TrainingError


class Values(torch.utils.data.Dataset):
    """Inputs, some of them not finite; a batch knows its tokens."""

    def __init__(self, bad, length=8):
        self.values = torch.randn(length, 4, generator=torch.Generator().manual_seed(0))
        for index, value in bad.items():
            self.values[index, 0] = value

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return index, self.values[index]


def collate(items):
    return SimpleNamespace(
        tokens=[f"token{index}" for index, _ in items], values=torch.stack([value for _, value in items])
    )


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        self.states = []

    def training_step(self, batch, batch_idx):
        return self.net(batch.values).square().mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.states.append(copy.deepcopy(self.state_dict()))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.5)


def fit(bad, guard, folder, accumulate=1):
    module = Module()
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[guard],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        accumulate_grad_batches=accumulate,
        default_root_dir=folder,
    )
    trainer.fit(module, DataLoader(Values(bad), batch_size=2, collate_fn=collate))
    return module, trainer


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_bad_step_changes_nothing_and_names_its_samples(tmp_path, caplog, value):
    module, trainer = fit({3: value}, NanGuard(5), tmp_path)
    first, second, third, _ = module.states
    assert same(first, second)
    assert not same(second, third)
    assert all(torch.isfinite(tensor).all() for tensor in module.state_dict().values())
    assert "samples: token2 token3." in caplog.text
    assert trainer.global_step == 4


def test_without_bad_values_the_guard_changes_nothing(tmp_path):
    guarded, _ = fit({}, NanGuard(5), tmp_path)
    plain, _ = fit({}, pl.Callback(), tmp_path)
    assert same(guarded.state_dict(), plain.state_dict())


def test_one_bad_batch_spoils_its_whole_accumulation_and_no_other(tmp_path, caplog):
    module, _ = fit({2: float("nan")}, NanGuard(5), tmp_path, accumulate=2)
    assert same(Module().state_dict(), module.states[1])
    assert not same(module.states[1], module.states[3])
    assert "token0 token1 token2 token3" in caplog.text


def test_too_many_in_a_row_end_training_with_the_samples(tmp_path):
    bad = {index: float("nan") for index in range(2, 8)}
    with pytest.raises(TrainingError, match=r"samples: token6 token7\. 3 steps in a row"):
        fit(bad, NanGuard(2), tmp_path)
    fit({2: float("nan"), 6: float("nan")}, NanGuard(1), tmp_path)  # a good step in between starts the count anew


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    guard = NanGuard()
    module, trainer = fit({}, guard, tmp_path)
    trainer.save_checkpoint(tmp_path / "good.ckpt", weights_only=False)
    with torch.no_grad():
        module.net[2].bias.fill_(float("inf"))
    with pytest.raises(TrainingError, match=r"net\.2\.bias"):
        trainer.save_checkpoint(tmp_path / "bad.ckpt", weights_only=False)
    assert not (tmp_path / "bad.ckpt").exists()
