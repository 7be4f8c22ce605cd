from __future__ import annotations

from types import SimpleNamespace

import pytest

optuna = pytest.importorskip("optuna")

from lidar_mt.config.search_space import dimensions  # noqa: E402
from lidar_mt.engine.study import Dimension, Study  # noqa: E402
from lidar_mt.engine.trial import ReportTrial  # noqa: E402
from lidar_mt.structures.errors import ConfigError  # noqa: E402

SPACE = [Dimension("a.rate", low=1e-4, high=1e-1, log=True), Dimension("a.size", low=1, high=8, whole=True)]


class Trainer(SimpleNamespace):
    """What the callback reads of a trainer."""

    def validate(self, callback, value):
        self.callback_metrics = {"val/NDS": value}
        callback.on_validation_end(self, None)
        return self.should_stop


def train(study, number, values, startup=1, warmup=0):
    """A training that validates `values` until the study gives it up."""
    callback = ReportTrial(study.url, study.name, number, "val/NDS", startup, warmup)
    strategy = SimpleNamespace(broadcast=lambda value: value)
    trainer = Trainer(sanity_checking=False, is_global_zero=True, should_stop=False, strategy=strategy)
    return next((done for done, value in enumerate(values, 1) if trainer.validate(callback, value)), len(values))


def open_study(path, seed=0, mode="max"):
    return Study(path / "study.db", "test", mode, startup_trials=2, seed=seed)


def test_trials_are_kept_pruned_and_ranked(tmp_path):
    study = open_study(tmp_path)
    numbers = []
    for values in ([0.1, 0.5, 0.4], [0.2, 0.6, 0.3], [0.05, 0.1, 0.9]):
        number, parameters = study.ask(SPACE)
        assert set(parameters) == {"a.rate", "a.size"}
        assert 1e-4 <= parameters["a.rate"] <= 1e-1
        assert isinstance(parameters["a.size"], int)
        numbers.append((train(study, number, values), study.tell(number, failed=False)))
    # The third is below the median of the others at its first validation.
    assert numbers == [(3, "complete"), (3, "complete"), (1, "pruned")]
    assert study.done == 3
    rows = study.rows()
    assert [(row["number"], row["value"], row["validations"]) for row in rows] == [
        (1, 0.6, 3),
        (0, 0.5, 3),
        (2, 0.05, 1),
    ]


def test_warm_up_and_startup_trials_are_not_pruned(tmp_path):
    study = open_study(tmp_path)
    for _ in range(2):
        number, _ = study.ask(SPACE)
        train(study, number, [0.5, 0.5, 0.5])
        study.tell(number, failed=False)
    number, _ = study.ask(SPACE)
    assert train(study, number, [0.1, 0.1, 0.1], startup=1, warmup=1) == 2
    study.tell(number, failed=False)
    number, _ = study.ask(SPACE)
    assert train(study, number, [0.1, 0.1, 0.1], startup=9) == 3


def test_a_search_that_was_killed_goes_on(tmp_path):
    study = open_study(tmp_path)
    first = []
    for _ in range(2):
        number, parameters = study.ask(SPACE)
        first.append(parameters)
        train(study, number, [0.5])
        study.tell(number, failed=False)
    cut, _ = study.ask(SPACE)
    orphan = ReportTrial(study.url, study.name, cut, "val/NDS", 1, 0)

    again = open_study(tmp_path)
    assert again.done == 2
    assert {row["number"]: row["state"] for row in again.rows()} == {0: "complete", 1: "complete", cut: "fail"}
    number, parameters = again.ask(SPACE)
    assert number == cut + 1
    assert parameters not in first
    # The run that the killed search left behind stops at its next validation.
    strategy = SimpleNamespace(broadcast=lambda value: value)
    trainer = Trainer(sanity_checking=False, is_global_zero=True, should_stop=False, strategy=strategy)
    assert trainer.validate(orphan, 0.9)


def test_a_run_that_failed_or_never_validated_is_no_result(tmp_path):
    study = open_study(tmp_path)
    number, _ = study.ask(SPACE)
    train(study, number, [0.9])
    assert study.tell(number, failed=True) == "fail"
    number, _ = study.ask(SPACE)
    assert study.tell(number, failed=False) == "fail"
    assert study.done == 0


def test_a_metric_that_is_not_there_is_named(tmp_path):
    study = open_study(tmp_path)
    number, _ = study.ask(SPACE)
    callback = ReportTrial(study.url, study.name, number, "val/mAPP", 1, 0)
    strategy = SimpleNamespace(broadcast=lambda value: value)
    trainer = Trainer(sanity_checking=False, is_global_zero=True, should_stop=False, strategy=strategy)
    with pytest.raises(ConfigError, match=r"val/mAPP.*val/NDS"):
        trainer.validate(callback, 1.0)


def test_a_study_of_the_other_mode_is_refused(tmp_path):
    open_study(tmp_path)
    with pytest.raises(ConfigError, match="maximize"):
        open_study(tmp_path, mode="min")


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"a": {"rat": {"low": 1, "high": 2}}}, "'a.rate'"),
        ({"a": {"rate": {"low": 2, "high": 1}}}, "low < high"),
        ({"a": {"rate": {"low": 0, "high": 1, "log": True}}}, "low > 0"),
        ({"a": {"rate": {"low": 1}}}, "low < high"),
        ({"a": {"rate": 3}}, "choices"),
        ({"a": {"rate": {"low": 1, "hihg": 2}}}, "choices"),
        ({"a": None}, "no key"),
    ],
)
def test_mistakes_in_the_space_are_named(space, words):
    with pytest.raises(ConfigError, match=words):
        dimensions(space, {"a": {"rate": 0.1, "size": 3}})


def test_the_space_follows_the_configuration():
    found = dimensions(
        {"a": {"rate": {"low": 1, "high": 2, "log": True}, "size": {"low": 1, "high": 4}}, "b": {"choices": [1, 2]}},
        {"a": {"rate": 0.1, "size": 3}, "b": 1},
    )
    assert found[0] == Dimension("a.rate", low=1, high=2, log=True)
    assert found[1] == Dimension("a.size", low=1, high=4, whole=True)
    assert found[2] == Dimension("b", choices=(1, 2))
