"""Exports a calibrated or trained integer network: a folder with ONNX files, the integers, a signature and a report.

    python -m lidar_mt.export

Useful keys:
    stage=qat            whose checkpoint; also calibrate
    experiment=demo      the same experiment as in training
    run_name=demo        take the published checkpoint of this run
    checkpoint=FILE      or name a checkpoint; <stage>-config.yaml beside it says what the network is
    out=DIR              the folder to write, runs/<run_name>/published/int8 by default
    overwrite=true       replace the artefact that is there
"""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lidar_mt.config import instantiate, program
from lidar_mt.config.build import load_module, read_network_config
from lidar_mt.config.commands import command_line, told_command
from lidar_mt.config.networks import integer_parts
from lidar_mt.config.places import find_configured
from lidar_mt.config.stages import EXPORTED, QUANTIZED
from lidar_mt.deploy.exporter import export_network
from lidar_mt.structures.errors import ConfigError

log = logging.getLogger("lidar_mt.export")


@program("export")
def main(cfg: DictConfig) -> None:
    """Writes the artefact and says which operators each runtime computes in integers."""
    if cfg.stage.name not in QUANTIZED:
        raise ConfigError(f"stage={cfg.stage.name} has no integers to export; take stage=qat or stage=calibrate")
    overrides, out = command_line(), Path(cfg.out)
    checkpoint = find_configured(cfg, overrides).path
    network = read_network_config(checkpoint)
    module = load_module(checkpoint, network)
    artefact = export_network(
        *integer_parts(module),
        instantiate(network.classes),
        out,
        num_sweeps=network.num_sweeps,
        config=OmegaConf.to_yaml(network, resolve=True),
        overwrite=cfg.overwrite,
    )
    log.info("%s", artefact.report.rstrip())
    kept = [item for item in overrides if not item.startswith(("stage", "overwrite", "out="))]
    command = ["stage=int8", "runtime=onnxruntime", *kept]
    if out != Path(cfg.paths.published) / EXPORTED:
        command.append(f"artefact={out}")
    log.info("exported to %s; next: %s", out, told_command("evaluate", command))


if __name__ == "__main__":
    main()
