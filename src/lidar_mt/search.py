"""Searches hyper-parameters: each trial is an ordinary training run, poor ones are stopped early.

    python -m lidar_mt.search hparams_search=optimizer experiment=demo

Useful keys:
    hparams_search=optimizer      what is varied, see conf/hparams_search; loss varies the weights
    hparams_search.trials=20      finished or pruned trials that there shall be in the end
    hparams_search.name=NAME      of the study; the same name goes on with it
    hparams_search.space.optimizer.lr.high=1e-3   and every other key of the space
    KEY=VALUE                     every key of training, handed on to each trial

The study lies in <runs>/<run_name>/search_<name>/study.db. A search that was stopped goes on when the same command is
given again. At the end: a table, trials.csv, trials.png and best.txt beside it.
"""

from __future__ import annotations

import csv
import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from rich.console import Console
from rich.table import Table

from lidar_mt.config import program
from lidar_mt.config.build import match_monitor
from lidar_mt.config.check import plain
from lidar_mt.config.commands import command_line, program_words
from lidar_mt.config.monitors import check_monitors
from lidar_mt.config.search_space import dimensions
from lidar_mt.engine.study import Study
from lidar_mt.structures.errors import ConfigError, LidarMtError
from lidar_mt.visualization.figure import save_figure
from lidar_mt.visualization.search import draw_search

log = logging.getLogger("lidar_mt.search")

#: Trials in a row that may fail before the search gives up.
_FAILURES = 3


@program("search")
def main(cfg: DictConfig) -> None:
    """Runs trials until there are enough, then reports."""
    folder, search = Path(HydraConfig.get().runtime.output_dir), cfg.hparams_search
    space = dimensions(plain(search.space), plain(cfg))
    with open_dict(cfg):
        cfg.paths.run = str(folder)  # which the metrics' settings refer to
    match_monitor(cfg)
    check_monitors(cfg)
    study = Study(folder / "study.db", search.name, search.mode, search.startup_trials, cfg.seed)
    if study.done:
        log.info("going on with %d of %d trials in %s", study.done, search.trials, folder)
    # A plain SIGTERM would leave the trial's process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    failures = 0
    while study.done < search.trials:
        number, values = study.ask(space)
        status = run_trial(_command(cfg, study, number, values, folder / f"trial_{number:03d}"))
        state = study.tell(number, failed=status != 0)
        failures = failures + 1 if state == "fail" else 0
        log.info("trial_%03d: %s (%d of %d), %s", number, state, study.done, search.trials, values)
        if failures >= _FAILURES:
            raise LidarMtError(f"{failures} trials in a row failed; see {folder / f'trial_{number:03d}' / 'train.log'}")
    report(study, folder, search.monitor, [each.path for each in space if each.log])


def run_trial(command: list[str]) -> int:
    """Runs a training to its end, also when this process is told to stop; its exit status."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as child:
        try:
            return child.wait()
        finally:
            if child.poll() is None:
                child.terminate()


def report(study: Study, folder: Path, monitor: str, log_scaled: list[str]) -> None:
    """Prints the table and writes trials.csv, trials.png and best.txt."""
    rows = study.rows()
    names = list(dict.fromkeys(name for row in rows for name in row["parameters"]))
    table = Table(title=f"Trials of {study.name}, best first")
    header = ["trial", "state", monitor, "validations", "s", *names]
    for column in header:
        table.add_column(column, justify="right", overflow="fold")
    lines = [[row[key] for key in ("number", "state", "value", "validations", "seconds")] for row in rows]
    lines = [[*line, *(row["parameters"].get(name) for name in names)] for line, row in zip(lines, rows, strict=True)]
    for line in lines:
        table.add_row(*(f"{cell:.5g}" if isinstance(cell, float) else str(cell) for cell in line))
    Console().print(table)
    with (folder / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    save_figure(draw_search(rows, monitor, log_scaled), folder / "trials.png")
    best = " ".join(f"{name}={value}" for name, value in rows[0]["parameters"].items())
    (folder / "best.txt").write_text(best + "\n", encoding="utf-8")
    log.info("best: %s; table and plot in %s", best, folder)


def _command(cfg: DictConfig, study: Study, number: int, values: dict[str, Any], folder: Path) -> list[str]:
    own = ("hparams_search", "~hparams_search", "+hparams_search")
    handed_on = [item for item in command_line() if not item.startswith(own)]
    search = cfg.hparams_search
    callback = {
        "storage": study.url,
        "study": study.name,
        "number": number,
        "monitor": search.monitor,
        "startup_trials": search.startup_trials,
        "warmup_validations": search.warmup_validations,
    }
    if any(item.startswith("debug=fast_dev_run") for item in handed_on):
        raise ConfigError("debug=fast_dev_run validates nothing that could be compared; use debug=limit")
    arguments = [
        *handed_on,
        *(f"{path}={_quoted(value)}" for path, value in values.items()),
        f"hydra.run.dir={_quoted(str(folder.absolute()))}",
        f"paths.published={_quoted(str(folder.absolute() / 'published'))}",
        "+callbacks.trial._target_=lidar_mt.engine.trial.ReportTrial",
        *(f"+callbacks.trial.{name}={_quoted(value)}" for name, value in callback.items()),
    ]
    return [sys.executable, *program_words("train", arguments)]


def _quoted(value: Any) -> str:
    """A value as Hydra's grammar reads it back."""
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


if __name__ == "__main__":
    main()
