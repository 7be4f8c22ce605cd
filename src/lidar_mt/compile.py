"""Compiles an exported network for a board: the compiled file, and a report per layer as text and JSON.

    python -m lidar_mt.compile target=ethos_u85

Useful keys:
    target=NAME     ethos_u85, ethos_u85_512, ethos_u65 (estimates of Arm's compiler), openvino, tensorrt (measured)
    run_name=demo   take the published artefact of this run
    artefact=DIR    or name one
    out=DIR         the folder to write, runs/<run_name>/published/compiled/<target> by default
    overwrite=true  replace what is there
"""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from lidar_mt.config import instantiate, program
from lidar_mt.deploy.artefact import read_artefact
from lidar_mt.deploy.compiler import compile_artefact

#: Lines that are printed: totals, bounds, what is left to the processor, the first layers.
_SHOWN = 48

log = logging.getLogger("lidar_mt.compile")


@program("compile")
def main(cfg: DictConfig) -> None:
    """Compiles, and prints the report."""
    target, out = instantiate(cfg.target), Path(cfg.out)
    artefact = read_artefact(Path(cfg.artefact))
    report = compile_artefact(artefact, target, out, overwrite=cfg.overwrite)
    shown = report.rstrip().splitlines()[:_SHOWN]
    log.info("%s", "\n".join(shown))
    log.info("compiled to %s; every layer in report.txt there", out)


if __name__ == "__main__":
    main()
