"""The training side of a search: tells the study each validation, and stops when the study gives the trial up."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from lidar_mt.structures.errors import ConfigError

#: User attribute of a trial that the pruner gave up.
PRUNED = "pruned"


class ReportTrial(Callback):
    """Reports to an Optuna study in a database, and prunes by the median of its earlier trials.

    Args:
        storage: URL of the study's database.
        study: its name.
        number: of this trial.
        monitor: validation metric.
        startup_trials: trials that are never pruned.
        warmup_validations: validations of a trial before it can be pruned.
    """

    def __init__(
        self, storage: str, study: str, number: int, monitor: str, startup_trials: int, warmup_validations: int
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.MedianPruner(startup_trials, warmup_validations)
        self.monitor = monitor
        self._storage = optuna.storages.get_storage(storage)
        self._study = optuna.load_study(study_name=study, storage=self._storage, pruner=pruner)
        study_id = self._storage.get_study_id_from_name(study)
        self._trial = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports the metric; stops every rank when the trial is given up."""
        if trainer.sanity_checking:
            return
        stop = trainer.is_global_zero and self._report(trainer.callback_metrics)
        trainer.should_stop = bool(trainer.strategy.broadcast(stop)) or trainer.should_stop

    def _report(self, metrics: dict[str, Any]) -> bool:
        if self.monitor not in metrics:
            raise ConfigError(f"hparams_search.monitor={self.monitor}: validation gives {', '.join(sorted(metrics))}")
        if self._storage.get_trial(self._trial).state.is_finished():
            return True  # a search that was killed and started again has given this run up
        step = len(self._storage.get_trial(self._trial).intermediate_values)
        self._storage.set_trial_intermediate_value(self._trial, step, float(metrics[self.monitor]))
        pruned = self._study.pruner.prune(self._study, self._storage.get_trial(self._trial))
        if pruned:
            self._storage.set_trial_user_attr(self._trial, PRUNED, True)
        return pruned
