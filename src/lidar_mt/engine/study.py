"""An Optuna study in an SQLite file: opened again, recovered, asked and told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lidar_mt.engine.trial import PRUNED
from lidar_mt.structures.errors import ConfigError


class Dimension(NamedTuple):
    """What one key may be.

    Attributes:
        path: dotted key.
        choices: its values, or empty for a range.
        low: smallest value of a range.
        high: largest value.
        log: spread evenly over orders of magnitude.
        whole: whole numbers only, as the key's present value is one.
    """

    path: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False


class Study:
    """A search that goes on where it was: finished trials stay, one that was cut off is marked failed.

    Args:
        path: SQLite file.
        name: of the study.
        mode: max or min.
        startup_trials: drawn at random before the sampler models anything.
        seed: of the sampler.

    Raises:
        ConfigError: optuna is not installed, or the file holds a study of the other mode.
    """

    def __init__(self, path: Path, name: str, mode: str, startup_trials: int, seed: int) -> None:
        try:
            import optuna
        except ImportError as error:
            raise ConfigError("searching needs optuna; pip install 'lidar_mt[sweep]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.name, self.mode = name, mode
        self.url = f"sqlite:///{path.absolute()}"
        direction: Literal["maximize", "minimize"] = "maximize" if mode == "max" else "minimize"
        self._study = optuna.create_study(storage=self.url, study_name=name, direction=direction, load_if_exists=True)
        if self._study.direction.name.lower() != direction:
            raise ConfigError(f"{path} holds a study that {self._study.direction.name.lower()}s; choose another name")
        self._states = optuna.trial.TrialState
        for trial in self._study.get_trials(states=(self._states.RUNNING,)):
            self._study.tell(trial.number, state=self._states.FAIL)
        # Another seed after a restart, or the first draws would come again.
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=startup_trials, seed=seed + len(self._study.trials)
        )

    @property
    def done(self) -> int:
        """Trials that were finished or pruned."""
        return len(self._study.get_trials(states=(self._states.COMPLETE, self._states.PRUNED)))

    def ask(self, space: Iterable[Dimension]) -> tuple[int, dict[str, Any]]:
        """Number and values of the next trial."""
        trial = self._study.ask()
        return trial.number, {each.path: _suggest(trial, each) for each in space}

    def tell(self, number: int, failed: bool) -> str:
        """Ends a trial by what its run reported; its state: complete, pruned or fail."""
        trial = self._study.trials[number]
        values = trial.intermediate_values.values()
        if failed or not values:
            state, value = self._states.FAIL, None
        elif trial.user_attrs.get(PRUNED):
            state, value = self._states.PRUNED, None
        else:
            state, value = self._states.COMPLETE, max(values) if self.mode == "max" else min(values)
        self._study.tell(number, value, state=state)
        return str(state.name).lower()

    def rows(self) -> list[dict[str, Any]]:
        """All trials, best first: number, state, value, validations, seconds and parameters."""
        rows = []
        for trial in self._study.trials:
            values = list(trial.intermediate_values.values())
            best = (max(values) if self.mode == "max" else min(values)) if values else None
            seconds = trial.duration.total_seconds() if trial.duration else None
            rows.append(
                {
                    "number": trial.number,
                    "state": trial.state.name.lower(),
                    "value": best,
                    "validations": len(values),
                    "seconds": seconds,
                    "parameters": trial.params,
                }
            )
        sign = -1 if self.mode == "max" else 1
        return sorted(rows, key=lambda row: (row["state"] != "complete", sign * (row["value"] or 0.0)))


def _suggest(trial: Any, each: Dimension) -> Any:
    if each.choices:
        return trial.suggest_categorical(each.path, list(each.choices))
    if each.whole:
        return trial.suggest_int(each.path, int(each.low), int(each.high), log=each.log)
    return trial.suggest_float(each.path, each.low, each.high, log=each.log)
