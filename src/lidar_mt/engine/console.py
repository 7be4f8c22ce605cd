"""Keeps Lightning's chatter off the console; its warnings about the run itself stay."""

from __future__ import annotations

import logging
import warnings

_NOISE = (
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*is not supported by the model summary.*",
    r".*does not have many workers.*",
    r".*`pin_memory`.*",
    r".*It is recommended to use `self.log\('(val|test)/.*sync_dist=True.*",  # the metrics reduce by themselves
    r".*Using `DistributedSampler` with the dataloaders.*",  # the data module gives every sample to one rank
    r".*Checkpoint directory .* exists and is not empty.*",
)


def quiet_lightning() -> None:
    """Silences device lists, tips and warnings that a user of the programs cannot act on."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)
