"""Hostile and foreign files in place of a checkpoint."""

from __future__ import annotations

import builtins
import collections
import functools
import io
import os
import pickle
import runpy
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lidar_mt.engine.checkpoint import read_checkpoint
from lidar_mt.structures.errors import CheckpointError


class Gadget:
    """Runs `function(*arguments)` when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Setter:
    """Calls a function through its state instead of its constructor."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return (collections.OrderedDict, (), None, None, iter([("a", Gadget(os.system, f"touch {self.witness}"))]))


def gadgets(witness):
    """Name -> object that would create `witness` when loaded carelessly."""
    write = f"open({str(witness)!r}, 'w')"
    script = witness.with_name("script.py")
    script.write_text(write)
    return {
        "os.system": Gadget(os.system, f"touch {witness}"),
        "eval": Gadget(builtins.eval, write),
        "exec": Gadget(builtins.exec, write),
        "open": Gadget(builtins.open, str(witness), "w"),
        "subprocess": Gadget(subprocess.check_output, ["touch", str(witness)]),
        "runpy": Gadget(runpy.run_path, str(script)),
        "path": Gadget(Path.touch, witness),
        "partial": Gadget(functools.reduce, os.mkdir, [str(witness)]),
        "nested pickle": Gadget(pickle.loads, pickle.dumps(Gadget(os.system, f"touch {witness}"))),
        "items of a dictionary": Setter(witness),
        "numpy object array": np.array([Gadget(os.system, f"touch {witness}")], dtype=object),
        "import": Gadget(builtins.__import__, "script"),
    }


NAMES = [
    "os.system",
    "eval",
    "exec",
    "open",
    "subprocess",
    "runpy",
    "path",
    "partial",
    "nested pickle",
    "items of a dictionary",
    "numpy object array",
    "import",
]


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "pickle"])
@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_checkpoint_is_refused_without_side_effect(tmp_path, name, legacy):
    witness = tmp_path / "witness"
    content = {"state_dict": {"net.a": torch.zeros(1), "net.b": gadgets(witness)[name]}, "global_step": 1}
    path = tmp_path / "last.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="damaged, or holds more than weights"):
        read_checkpoint(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {}, "hyper_parameters": OmegaConf.create({"a": 1})},
        {"state_dict": {}, "path": Path("a")},
        {"state_dict": {}, "net": torch.nn.Linear(1, 1)},
        {"weights": {}},
        [1, 2],
    ],
)
def test_more_than_plain_values_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"a\.ckpt"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_other_files_are_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("notes.txt", "no checkpoint")
    scripted = torch.jit.script(torch.nn.ReLU())
    for name, content in {"zip": buffer.getvalue(), "npy": b"\x93NUMPY", "text": b"a" * 1000}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            read_checkpoint(tmp_path / name)
    scripted.save(str(tmp_path / "script"))
    with pytest.raises(CheckpointError, match="script"):
        read_checkpoint(tmp_path / "script")


def test_a_damaged_checkpoint_names_the_others_of_its_training(tmp_path):
    for name in ("float-best", "float-last", "qat-best"):
        (tmp_path / f"{name}.ckpt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="damaged") as caught:
        read_checkpoint(tmp_path / "float-best.ckpt")
    assert str(caught.value).endswith("; beside it: float-last.ckpt")
    with pytest.raises(CheckpointError, match="damaged") as caught:
        read_checkpoint(tmp_path / "qat-best.ckpt")
    assert "beside it" not in str(caught.value)
