"""Two hundred generated mistakes: each is refused while the configuration is composed, with the nearest key."""

from __future__ import annotations

import copy
import random
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lidar_mt.config import CONF_DIR, compose, schema
from lidar_mt.config.check import check_config, plain
from lidar_mt.config.explain import explain
from lidar_mt.config.types import UNKNOWN, Referred
from lidar_mt.structures.errors import ConfigError

RNG = random.Random(20)
#: Letters that a slip of the finger changes; group names are in the paths as well.
KINDS = ("delete", "insert", "swap", "replace")
FULL = "augmentation=full"  # has the most keys
BASE = compose("train", [FULL])


def leaves(node: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in node.items():
        if str(name).startswith("_") or value is UNKNOWN:
            continue
        if isinstance(value, Referred):
            continue  # its keys stand elsewhere
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


LEAVES = dict(leaves(plain(BASE)))
#: Keys that exist, also those that a class takes but no file sets.
KNOWN = set(LEAVES) | {".".join(path.split(".")[:depth]) for path in LEAVES for depth in range(1, 9)}


def misspelt(path: str, kind: str) -> str:
    at = RNG.choice([i for i, letter in enumerate(path) if letter.isalpha()])
    if kind == "delete":
        return path[:at] + path[at + 1 :]
    if kind == "insert":
        return path[:at] + RNG.choice(string.ascii_lowercase) + path[at:]
    if kind == "replace":
        return path[:at] + RNG.choice(string.ascii_lowercase) + path[at + 1 :]
    following = path[at + 1 : at + 2]
    return path[:at] + following + path[at] + path[at + 2 :] if following.isalpha() else misspelt(path, "insert")


def typos() -> Iterator[tuple[str, str]]:
    """(typo, what was meant), from every kind of slip and all shipped keys of training."""
    paths = sorted(path for path in LEAVES if path.split(".")[0] not in ("train", "hydra"))
    seen: set[str] = set()
    while len(seen) < 150:
        meant = RNG.choice(paths)
        typo = misspelt(meant, KINDS[len(seen) % len(KINDS)])
        if typo in KNOWN or typo in seen or ".." in typo or typo.startswith(".") or typo.endswith("."):
            continue
        seen.add(typo)
        yield typo, meant


def wrong_types() -> Iterator[str]:
    """Overrides with a value that no hint of the key takes."""
    numbers = sorted(p for p, v in LEAVES.items() if isinstance(v, int | float) and not isinstance(v, bool))
    flags = sorted(path for path, value in LEAVES.items() if isinstance(value, bool))
    # Hints that take more than what the file says: Lightning's own, text or number.
    wide = {"trainer.devices", "trainer.precision", "trainer.deterministic"}
    for path in RNG.sample([path for path in numbers if path not in wide], 25):
        yield f"{path}=abc"
    for path in RNG.sample([p for p in numbers if isinstance(LEAVES[p], int) and p not in wide], 10):
        yield f"{path}=1.5"
    for path in RNG.sample([path for path in flags if path not in wide], 5):
        yield f"{path}=perhaps"
    for path in RNG.sample(numbers, 5):
        yield f"{path}=[1,2]"
    texts = sorted(path for path, value in LEAVES.items() if isinstance(value, str) and path not in wide)
    for path in RNG.sample(texts, 5):
        yield f"{path}=[[1],[2]]"


TYPOS = list(typos())


def refusal(override: str) -> str:
    """The message about an override; fails where there is none.

    It is applied to a configuration that is composed already, by Hydra's own function: twenty times as fast.
    """
    cfg = copy.deepcopy(BASE)
    try:
        ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides([override]), cfg)
        check_config(cfg, "train", [override], lambda overrides: BASE)
    except ConfigError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException) as error:
        return explain(error, "train", [FULL, override], lambda choices: BASE, CONF_DIR)
    pytest.fail(f"{override} was taken")


def composed_refusal(*overrides: str) -> str:
    """The same, composed as a program does."""
    try:
        compose("train", list(overrides))
    except ConfigError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException) as error:
        return explain(error, "train", list(overrides), lambda choices: compose("train", choices), CONF_DIR)
    pytest.fail(f"{overrides} was taken")


def names_what_was_meant(message: str, meant: str) -> bool:
    """The suggestion is what was meant, or as much of it as the typo leaves to see (`+callbacks.bst.mode`)."""
    suggested = re.search(r"Did you mean '([^']+)'", message)
    return suggested is not None and f"{meant}.".startswith(f"{suggested.group(1)}.")


@pytest.mark.parametrize("share", range(10))
def test_misspelt_keys_are_refused_and_the_nearest_is_named(share):
    right = []
    for number, (typo, meant) in enumerate(TYPOS[share::10]):
        plus = "+" if number % 2 else ""
        message = refusal(f"{plus}{typo}={LEAVES[meant] if isinstance(LEAVES[meant], int | float) else 1}")
        assert "unknown key" in message, (typo, message)
        assert "Did you mean '" in message or "Keys " in message, (typo, message)
        right.append(names_what_was_meant(message, meant))
    # A suggestion is a guess; it must nearly always be the right one.
    assert sum(right) >= 0.8 * len(right), [typo for typo, ok in zip(TYPOS[share::10], right, strict=True) if not ok]


@pytest.mark.parametrize("override", wrong_types())
def test_values_of_a_wrong_type_are_refused_and_the_key_is_named(override):
    message = refusal(override)
    path = override.partition("=")[0]
    assert path in message, message
    assert "expected" in message or "converted" in message or "convert" in message, message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.lrr=1", ["'optimizer.lr'"]),
        ("+optimizer.lrr=1", ["'optimizer.lr'"]),
        ("trainer.max_epoch=3", ["'trainer.max_epochs'"]),
        ("trainre.max_epochs=3", ["'trainer.max_epochs'"]),
        ("+epcohs=3", ["epcohs", "'trainer.max_epochs'"]),
        ("data.batch_size=abc", ["data.batch_size=abc", "whole number"]),
        ("trainer.max_epochs=1.5", ["trainer.max_epochs=1.5", "whole number"]),
        ("trainer.max_epochs=null", ["trainer.max_epochs"]),
        ("model.neck.out_channel.level4=64", ["'model.neck.out_channels.level4'"]),
        ("model.nekc.out_chanels.level4=64", ["'model.neck.out_channels.level4'"]),
        ("+model.neck.out_channels.leve4=64", ["'model.neck.out_channels.level4'"]),
        ("+callbacks.bst.monitor=val/loss", ["'callbacks.best'"]),
        ("+callbacks.mine=3", ["callbacks.mine=3", "_target_"]),
        ("+augmentation.flp=null", ["'augmentation.flip'"]),
        ("trainer.max_steps=3", ["+trainer.max_steps"]),
        ("model.net.neck.in_channels.level2=64", ["refers to 'model.neck.in_channels.level2'"]),
        ("data.classes.detectoin=[car]", ["'classes.detection'"]),
        ("augmentation.gt_sampling.rate=2", ["augmentation.gt_sampling", "null"]),
        ("optimizer.betas=[0.9]", ["optimizer.betas", "2 values"]),
        ("optimizer.betas=[0.9,a]", ["optimizer.betas.1=a", "a number"]),
        ("grid={_target_:lidar_mt.structures.grid.Gird}", ["Gird"]),
        ("data.classes={_target_:lidar_mt.structures.grid.Grid}", ["data.classes", "Classes"]),
        ("metric.detection.partial=maybe", ["score, skip, error"]),
        ("data.num_workers=-1", ["data.num_workers=-1", ">= 0"]),
        ("~optimizer", ["optimizer"]),
        ("optimizer=adam", ["'optimizer=adamw'"]),
        ("model/voxelzier=torch", ["'model/voxelizer'"]),
        ("logger=null", ["none", "tensorboard"]),
        ("grid.voxel_size.0.x=1", ["grid.voxel_size"]),
        ("seed=${sede}", ["sede"]),
        ("=3", ["key=value"]),
    ],
)
def test_messages_name_the_key_and_what_would_do(override, words):
    message = composed_refusal(override)
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    "override",
    [
        "+trainer.max_steps=10",
        "+trainer.limit_train_batches=0.5",
        "+trainer.profiler=simple",
        "trainer.devices=[0]",
        "trainer.devices=2",
        "trainer.precision=16-mixed",
        "trainer.gradient_clip_val=null",
        "++data.batch_size=3",
        "optimizer.lr=1",
        "optimizer._target_=torch.optim.SGD",
        "+optimizer.eps=1e-6",
        "+logger.flush_secs=10",
        "callbacks.pictures=null",
        "+callbacks.stop={_target_:pytorch_lightning.callbacks.EarlyStopping,monitor:val/loss}",
        "+model.backbone.levels.level6={out_channels:8,stride:2,factor:1,group_base:null,stack:0}",
        "run_name=2024",
        "logger=none",
        "~callbacks.pictures",
    ],
)
def test_what_a_class_takes_is_not_refused(override):
    removed = ["~optimizer.betas"] if "SGD" in override else []
    compose("train", [override, *removed])


def test_every_group_says_what_it_may_hold():
    for name, program in schema.SCHEMAS.items():
        groups = {key for key, hint in program.__annotations__.items() if hint == "Any"}
        assert groups <= set(schema.GROUPS), name
    folders = {path.name for path in Path(CONF_DIR).iterdir() if path.is_dir()}
    assert folders - set(schema.GROUPS) == {"hydra", "experiment", "debug"}


@pytest.mark.parametrize("name", schema.SCHEMAS)
def test_no_program_refuses_its_own_defaults(name):
    compose(name)


@pytest.mark.parametrize("key", ["find_unused_parameters: true", "process_group_backend: gloo", "static_graph: true"])
def test_a_strategy_takes_its_own_keys_and_those_of_torch(key: str) -> None:
    node = compose("train", [f"trainer.strategy={{_target_: pytorch_lightning.strategies.DDPStrategy, {key}}}"]).trainer
    assert key.split(":", maxsplit=1)[0] in node.strategy


def test_a_misspelt_key_of_a_strategy_is_named() -> None:
    with pytest.raises(ConfigError, match="find_unused_parameters"):
        compose("train", ["+trainer.strategy={_target_: pytorch_lightning.strategies.DDPStrategy, find_unused: true}"])
