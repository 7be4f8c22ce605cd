"""`--help` names what can be said: every group that can be chosen, every key of the program's own."""

from __future__ import annotations

import dataclasses
import importlib
import re

import pytest

from lidar_mt.config import compose
from lidar_mt.config.schema import SCHEMAS, RecipeConfig


def help_of(programs, name):
    outcome = programs(name, "--help")
    assert outcome.status == 0
    return outcome.out


@pytest.mark.parametrize("name", ["train", "compile"])
def test_every_group_that_is_listed_can_be_chosen(programs, name):
    lines = help_of(programs, name).split("Groups (group=option):\n")[1].split("\n\n")[0].splitlines()
    groups = {group: options.split(", ") for group, options in (line.split(maxsplit=1) for line in lines)}
    for group, options in groups.items():
        assert compose(name, [f"{group}={options[-1]}"])


def test_the_groups_of_a_recipe(programs):
    listed = re.findall(r"^    ([\w/]+) {2,}[\w, ]+$", help_of(programs, "train").split("Groups")[1], re.MULTILINE)
    assert {"experiment", "debug", "model", "model/voxelizer", "quant", "stage"} <= set(listed)
    assert "model/head" not in listed
    assert "sensor" in help_of(programs, "infer").split("Groups")[1]
    assert "experiment" not in help_of(programs, "compile").split("Groups")[1]


def test_a_group_that_cannot_be_chosen_alone_says_what_chooses_it(programs):
    error = programs("train", "model/head=detection").err
    assert "'model/head' cannot be chosen alone; model=... does: base, detection, multitask, segmentation" in error
    assert "there is no group 'model/neck' in this program" in programs("report", "model/neck=unet").err


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_key_of_the_programs_own_is_named(name):
    shared = {item.name for item in dataclasses.fields(RecipeConfig)} - {"run_name"}
    shared |= {"resume"} if name == "search" else set()  # it goes on by itself
    usage = importlib.import_module(f"lidar_mt.{name}").__doc__
    for item in dataclasses.fields(SCHEMAS[name]):
        assert item.name in shared or re.search(rf"\b{item.name}\b", usage), item.name
