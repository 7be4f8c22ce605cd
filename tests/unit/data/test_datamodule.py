from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from tests.helpers.tiny_lidar import VERSION

from lidar_mt.data.cbgs import BalancedSampler
from lidar_mt.data.datamodule import LidarDataModule
from lidar_mt.data.layout import meta_path, store_path
from lidar_mt.data.lmdb_store.lmdb_records import LmdbRecords
from lidar_mt.data.packing import pack_split
from lidar_mt.data.transforms import GlobalRotationScaling
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.errors import DataError

CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))


@pytest.fixture(scope="module")
def packed(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed")
    for split in ("train", "val"):
        pack_split(raw, VERSION, split, out)
    return out


def datamodule(packed, train_split="val", **options):
    turn = {"turn": GlobalRotationScaling(0.4, 0.9, 1.1), "off": None}
    return LidarDataModule(str(packed), VERSION, train_split, "val", CLASSES, turn, **options)


def batches(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def assert_same(first, second):
    assert [batch.tokens for batch in first] == [batch.tokens for batch in second]
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a.points, b.points, rtol=0, atol=0)
        torch.testing.assert_close(a.boxes, b.boxes, rtol=0, atol=0, equal_nan=True)


def test_workers_change_nothing(packed):
    alone, workers = (datamodule(packed, num_workers=n, batch_size=3).train_dataloader() for n in (0, 2))
    for epoch in (0, 1):  # the second one reaches the same, persistent workers
        assert_same(batches(alone, epoch), batches(workers, epoch))
    assert [b.tokens for b in batches(alone, 0)] != [b.tokens for b in batches(alone, 1)]


@pytest.mark.parametrize("new_draw", [False, True])
def test_workers_change_nothing_when_classes_are_balanced(packed, new_draw):
    def loader(workers):
        options = {"cbgs": True, "cbgs_new_draw": new_draw}
        return datamodule(packed, num_workers=workers, batch_size=7, **options).train_dataloader()

    alone, *others = (loader(n) for n in (0, 2, 4))
    for epoch in (0, 1):
        expected = batches(alone, epoch)
        for other in others:
            assert_same(expected, batches(other, epoch))


def test_a_keyframe_that_comes_again_is_augmented_anew(packed):
    loader = datamodule(packed, cbgs=True).train_dataloader()
    boxes: dict[str, list[torch.Tensor]] = {}
    for batch in batches(loader, 0):
        for token, table in zip(batch.tokens, batch.boxes, strict=True):
            boxes.setdefault(token, []).append(table)
    again = [tables for tables in boxes.values() if len(tables) > 1]
    assert again
    assert all(not torch.equal(tables[0][:, :2], tables[1][:, :2]) for tables in again)


@pytest.mark.parametrize(("batch_size", "world_size"), [(3, 1), (5, 2), (7, 3)])
def test_steps_of_a_balanced_epoch_are_known_in_advance(packed, batch_size, world_size):
    module = datamodule(packed, batch_size=batch_size, cbgs=True)
    samplers = [BalancedSampler(module.presence(), 0, rank, world_size) for rank in range(world_size)]
    steps = {math.ceil(len(list(sampler)) / batch_size) for sampler in samplers}
    assert steps == {module.steps_per_epoch(world_size)}
    if world_size == 1:
        assert len(module.train_dataloader()) == module.steps_per_epoch()
    assert len(list(module.val_dataloader().sampler)) == 8  # evaluation sees every keyframe once


def test_loading_leaves_the_global_generators_alone(packed):
    loader = datamodule(packed, num_workers=2).train_dataloader()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(loader)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("loader", ["val_dataloader", "test_dataloader", "predict_dataloader"])
def test_evaluation_is_in_order_and_not_augmented(packed, loader):
    module = datamodule(packed, train_split="train", batch_size=3)
    got = list(getattr(module, loader)())
    dataset = module.dataset(training=False)
    assert [token for batch in got for token in batch.tokens] == [dataset.token(i) for i in range(8)]
    torch.testing.assert_close(got[0].points[1], torch.from_numpy(dataset[1].points))


@pytest.mark.parametrize(
    ("batch_size", "world_size", "steps"), [(3, 1, 3), (4, 1, 2), (8, 1, 1), (100, 1, 1), (2, 3, 2)]
)
def test_steps_per_epoch_is_known_in_advance(packed, batch_size, world_size, steps):
    module = datamodule(packed, batch_size=batch_size)
    assert module.steps_per_epoch(world_size) == steps
    if world_size == 1:
        assert len(module.train_dataloader()) == steps


class InMemory:
    """Packed splits as dicts."""

    def __init__(self, packed):
        self._packed = packed

    def open(self, version, split):
        store = LmdbRecords(store_path(self._packed, version, split))
        keys = list(store.keys())
        return {key: bytes(store.get(key)) for key in keys}


@pytest.mark.parametrize("cbgs", [False, True])
def test_splits_may_lie_in_any_store(packed, cbgs):
    elsewhere = LidarDataModule(
        "nowhere", VERSION, "val", "val", CLASSES, batch_size=3, cbgs=cbgs, num_workers=1, stores=InMemory(packed)
    )
    here = LidarDataModule(str(packed), VERSION, "val", "val", CLASSES, batch_size=3, cbgs=cbgs)
    assert elsewhere.has_lidarseg()
    assert elsewhere.steps_per_epoch() == here.steps_per_epoch()
    for name in ("train_dataloader", "val_dataloader"):
        assert_same(*(batches(getattr(module, name)(), 0) for module in (here, elsewhere)))


def test_splits_and_folders(packed):
    module = datamodule(packed, train_split="train")
    assert (len(module.dataset(True)), len(module.dataset(False))) == (4, 8)
    assert module.meta_root == meta_path(packed, VERSION)
    assert module.meta_root.is_dir()
    assert module.has_lidarseg()


def test_a_split_that_was_not_packed_is_named(packed):
    module = datamodule(packed, train_split="test")
    for ask in (module.steps_per_epoch, module.train_dataloader):
        with pytest.raises(DataError, match=r"no lmdb at .*test_lmdb .*run `make pack-data"):
            ask()


class Recorder(pl.LightningModule):
    """Notes the tokens that each epoch brings."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[tuple[str, int], list[str]] = {}

    def _note(self, kind, batch):
        self.seen.setdefault((kind, self.current_epoch), []).extend(batch.tokens)

    def training_step(self, batch, batch_idx):
        self._note("train", batch)
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self._note("val", batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_passes_the_epoch_on(packed, tmp_path):
    module = datamodule(packed, batch_size=3)
    recorder = Recorder()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(recorder, datamodule=module)
    loader = datamodule(packed, batch_size=3).train_dataloader()
    for epoch in (0, 1):
        expected = [token for batch in batches(loader, epoch) for token in batch.tokens]
        assert recorder.seen["train", epoch] == expected
        assert recorder.seen["val", epoch] == [loader.dataset.token(i) for i in range(8)]
    assert recorder.seen["train", 0] != recorder.seen["train", 1]


def test_calibration_sees_the_same_samples_without_augmentation_on_one_rank_and_on_two(packed):
    plain = {
        token: boxes
        for batch in datamodule(packed).val_dataloader()
        for token, boxes in zip(batch.tokens, batch.boxes, strict=True)
    }
    options = {"calibration_batches": 2, "calibration_batch_size": 3, "batch_size": 1}
    alone = list(datamodule(packed, **options).calibration_dataloader())
    assert [len(batch) for batch in alone] == [3, 3]
    for batch in alone:
        for token, boxes in zip(batch.tokens, batch.boxes, strict=True):
            torch.testing.assert_close(boxes, plain[token], rtol=0, atol=0, equal_nan=True)
    tokens = [token for batch in alone for token in batch.tokens]
    assert len(set(tokens)) == 6
    assert tokens != sorted(tokens, key=list(plain).index), "the first of the split are one scene"
    shares = []
    for rank in range(2):
        module = datamodule(packed, **options)
        module.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        shares.append([token for batch in module.calibration_dataloader() for token in batch.tokens])
    assert [len(share) for share in shares] == [3, 3]
    assert sorted(shares[0] + shares[1]) == sorted(tokens)
    assert len(list(datamodule(packed, **options).calibration_dataloader(limit=1))) == 1
