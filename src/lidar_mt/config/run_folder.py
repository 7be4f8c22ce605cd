"""The folder of a run that ended before it did anything: it goes again, with what was made for it.

Hydra makes the folder, `.hydra` and the log before a program starts. A run that left something of its own keeps all of
it, and so does one that crashed in an unexpected way.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lidar_mt.config.changes import CHANGES_NAME
from lidar_mt.structures.errors import LidarMtError

#: What Hydra leaves in the folder of a multirun.
_OF_MULTIRUN = {"multirun.yaml"}
#: A folder that the command line names is the user's own, and stays.
_NAMING = ("out=", "hydra.run.dir=", "hydra.sweep.dir=")


@contextlib.contextmanager
def discarded_on_error(cfg: DictConfig) -> Iterator[None]:
    """Clears away the folder of the running job where an expected error, or Ctrl-C, comes before anything is in it.

    Args:
        cfg: the job's configuration.
    """
    try:
        yield
    except (LidarMtError, HydraException, OmegaConfBaseException, OSError, KeyboardInterrupt):
        from lidar_mt.engine.ranks import is_first_process  # here, so that preparing data starts without torch

        job = HydraConfig.get()
        # Programs that write where they are told have no folder of a run; theirs is the one they were started in.
        if Path(job.run.dir) != Path() and is_first_process():
            own = {job.output_subdir or ".hydra", f"{job.job.name}.log", CHANGES_NAME}
            named = any(item.startswith(_NAMING) for item in (*job.overrides.task, *job.overrides.hydra))
            discard(Path(job.runtime.output_dir), own, None if named else _runs(cfg))
        raise


def discard(folder: Path, own: Collection[str], runs: Path | None) -> None:
    """Clears away a folder that holds nothing but what was made before the program started.

    Args:
        folder: of a run.
        own: names of what was made.
        runs: folder of all runs; below it the folder itself and those above it go too, where nothing is left in them.
            None keeps them.
    """
    try:
        if not {path.name for path in folder.iterdir()} <= set(own):
            return
        for name in own:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        while runs is not None and folder.is_relative_to(runs) and folder != runs:
            for name in _OF_MULTIRUN if {path.name for path in folder.iterdir()} <= _OF_MULTIRUN else ():
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
            folder = folder.parent
    except OSError:
        return  # another process has put something there, or has cleared it away already


def _runs(cfg: DictConfig) -> Path | None:
    try:
        return Path(cfg.paths.runs).absolute()
    except OmegaConfBaseException:
        return None
