from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from lidar_mt.engine import files
from lidar_mt.engine.checkpoint import read_checkpoint
from lidar_mt.engine.checkpoint_io import WholeCheckpointIO
from lidar_mt.engine.files import copy_whole, previous_of, remove_stale, write_whole
from lidar_mt.structures.errors import CheckpointError

FORK = multiprocessing.get_context("fork")


def checkpoint(step):
    return {"state_dict": {"net.a": torch.full((300_000,), float(step))}, "global_step": step}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_the_one_before_it(tmp_path):
    path = tmp_path / "a folder/größe.ckpt"
    for step in range(3):
        WholeCheckpointIO().save_checkpoint(checkpoint(step), path)
    assert names(path.parent) == ["größe.ckpt", "größe.previous.ckpt"]
    assert read_checkpoint(path)["global_step"] == 2
    assert read_checkpoint(previous_of(path))["global_step"] == 1
    WholeCheckpointIO().remove_checkpoint(path)
    assert names(path.parent) == []


def test_without_hard_links_the_one_before_is_kept_too(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "last.ckpt"
    for step in range(3):
        WholeCheckpointIO().save_checkpoint(checkpoint(step), path)
    assert [read_checkpoint(file)["global_step"] for file in (path, previous_of(path))] == [2, 1]


@pytest.mark.parametrize("what", ["cut", "flip", "empty", "gone", "text"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, caplog, what):
    path = tmp_path / "last.ckpt"
    for step in range(2):
        WholeCheckpointIO().save_checkpoint(checkpoint(step), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    damaged = {"cut": content[:-1000], "flip": content, "empty": b"", "text": b"hello"}
    path.unlink()
    if what != "gone":
        path.write_bytes(damaged[what])
    assert WholeCheckpointIO().load_checkpoint(path)["global_step"] == 0
    assert "last.previous.ckpt" in caplog.text
    previous_of(path).unlink()
    with pytest.raises(CheckpointError, match=str(path)):
        read_checkpoint(path)


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(checkpoint(7), path)
    content, rng, noticed = path.read_bytes(), random.Random(0), 0
    for _ in range(40):
        bit = rng.randrange(8 * len(content))
        path.write_bytes(content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :])
        try:
            read = read_checkpoint(path)
        except CheckpointError:
            noticed += 1
        else:
            assert torch.equal(read["state_dict"]["net.a"], checkpoint(7)["state_dict"]["net.a"])
    assert noticed > 30


def test_a_failed_write_leaves_the_file_and_nothing_else(tmp_path):
    path = tmp_path / "last.ckpt"
    write_whole(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, fail, keep_previous=True)
    assert names(tmp_path) == ["last.ckpt"]
    assert path.read_bytes() == b"old"


def test_leftovers_of_dead_processes_alone_are_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = files._HOST
    stale = [f".last.ckpt.{host}-{dead.pid}.tmp", f".last.ckpt.{host}-{dead.pid}.link.tmp"]
    others = [f".last.ckpt.{host}-{os.getpid()}.tmp", f".last.ckpt.elsewhere-{dead.pid}.tmp", "notes.tmp", "last.ckpt"]
    for name in stale + others:
        (tmp_path / name).touch()
    assert sorted(path.name for path in remove_stale(tmp_path)) == sorted(stale)
    assert names(tmp_path) == sorted(others)
    assert remove_stale(tmp_path / "nowhere") == []
    assert socket.gethostname()


def test_copies_are_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    copy_whole(tmp_path / "a", tmp_path / "b/c")
    assert (tmp_path / "b/c").read_bytes() == b"x" * 100_000


def save_for_ever(path, step):
    while True:
        step += 1
        # Without torch's threads, which do not survive a fork.
        values = torch.from_numpy(np.full(2_000_000, step, dtype=np.float32))
        WholeCheckpointIO().save_checkpoint({"state_dict": {"net.a": values}, "global_step": step}, path)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_while_saving_the_checkpoint_can_be_read(tmp_path, kills):
    path, step, rng, halves = tmp_path / "last.ckpt", 0, random.Random(kills), 0
    for _ in range(kills):
        before = path.stat().st_mtime_ns if path.exists() else 0
        child = FORK.Process(target=save_for_ever, args=(path, step))
        child.start()
        while not path.exists() or path.stat().st_mtime_ns == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.1))
        child.kill()
        child.join()
        halves += len(list(tmp_path.glob(".*.tmp")))
        read = read_checkpoint(path)
        assert read["global_step"] > step
        assert float(read["state_dict"]["net.a"].min()) == float(read["global_step"])
        step = read["global_step"]
        remove_stale(tmp_path)
        assert not list(tmp_path.glob(".*"))
    assert kills < 10 or halves > 2  # else no kill fell into a save


FULL_DISK = """
import sys, torch
from pathlib import Path
from lidar_mt.engine.checkpoint import read_checkpoint
from lidar_mt.engine.checkpoint_io import WholeCheckpointIO
from lidar_mt.structures.errors import CheckpointError
path = Path(sys.argv[1]) / "last.ckpt"
try:
    for step in range(9):
        content = {"state_dict": {"net.a": torch.zeros(300_000 * (1 + step))}, "global_step": step}
        WholeCheckpointIO().save_checkpoint(content, path)
except CheckpointError as error:
    print(error, read_checkpoint(path)["global_step"] == step - 1, sorted(p.name for p in path.parent.iterdir()))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount a small disk")
def test_a_full_disk_is_called_by_its_name_and_the_last_checkpoint_stays(tmp_path):
    mount = f"mount -t tmpfs -o size=8m tmpfs {tmp_path} && exec {sys.executable} - {tmp_path}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]
    done = subprocess.run(command, input=FULL_DISK, capture_output=True, text=True, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()[:100]}")
    assert "disk full" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("True ['last.ckpt', 'last.previous.ckpt']")
