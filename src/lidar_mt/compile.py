"""Compiles an exported network for a board: the compiled file, and a report per layer as text and JSON.

    python -m lidar_mt.compile target=ethos_u85

Useful keys:
    target=NAME     ethos_u85, ethos_u85_512, ethos_u65 (estimates of Arm's compiler), openvino, tensorrt (measured)
    run_name=demo   take the published artefact of this run
    artefact=DIR    or name one
    out=DIR         the folder to write, runs/<run_name>/published/compiled/<target> by default
    overwrite=true  replace what is there

Of the targets ethos_*, another processor or system, as Vela names them:
    target.accelerator=ethos-u85-256        family, and multiply-accumulates per cycle
    target.system_config=NAME               clock and memories: a System_Config of Vela's Arm/vela.ini
    target.memory_mode=NAME                 where weights and maps live: a Memory_Mode of the same file
    target.arena_cache_size=393216          bytes on the chip, in the place of the memory mode's own

Of openvino and tensorrt, which measure:
    target.repeats=20   frames that are measured; the median counts
    target.threads=1    processor threads; of openvino alone
"""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from lidar_mt.config import instantiate, program
from lidar_mt.config.commands import command_line
from lidar_mt.config.places import find_artefact, naming_command
from lidar_mt.deploy.artefact import read_artefact
from lidar_mt.deploy.board_text import describe_report
from lidar_mt.deploy.compiler import REPORT_TEXT, compile_artefact

#: Layers that are printed, those that take longest.
_SLOWEST = 12

log = logging.getLogger("lidar_mt.compile")


@program("compile")
def main(cfg: DictConfig) -> None:
    """Compiles, and prints the report."""
    target, out = instantiate(cfg.target), Path(cfg.out)
    place = find_artefact(Path(cfg.artefact), command_line())
    with naming_command(place):
        artefact = read_artefact(place.path)
    report = compile_artefact(artefact, target, out, source=place.path, overwrite=cfg.overwrite)
    log.info("%s", describe_report(report, _SLOWEST).rstrip())
    log.info("compiled to %s; every layer, and the sources of the bounds, in %s", out, out / REPORT_TEXT)


if __name__ == "__main__":
    main()
