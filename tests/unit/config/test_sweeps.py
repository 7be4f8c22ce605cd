from __future__ import annotations

import logging

import pytest

from lidar_mt.config import compose
from lidar_mt.config.sweeps import match_sweeps


@pytest.mark.parametrize(
    ("arguments", "sweeps", "apart"),
    [
        ([], 7, None),
        (["experiment=demo"], 7, None),  # which says 5
        (["data.num_sweeps=3"], 3, 3),
        (["+data.num_sweeps=3", "experiment=demo"], 3, 3),
        (["data.num_sweeps=7"], 7, None),
    ],
)
def test_the_network_s_own_sweeps_unless_the_command_line_says_how_many(arguments, sweeps, apart, caplog) -> None:
    cfg = compose("evaluate", [item.lstrip("+") for item in arguments])
    with caplog.at_level(logging.WARNING):
        assert match_sweeps(cfg, 7, arguments) == apart
    assert cfg.data.num_sweeps == sweeps
    assert ("data.num_sweeps=3, but the network was trained with 7" in caplog.text) == (apart is not None)
