"""Arm's Ethos-U processors as Vela names and configures them."""

from __future__ import annotations

import configparser
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from lidar_mt.deploy.devices import Device
from lidar_mt.structures.errors import ConfigError

#: What Vela compiles for; the last number is the multiply-accumulates per cycle.
Accelerator = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]
#: Vela's own configuration file, below its package's folder.
CONFIG_FILE = "Arm/vela.ini"
_GIB = 2**30
#: Where nothing limits the memory on the chip Vela gives the processor's address space: 4 GiB, or more.
_NO_LIMIT_KIB = 2**22


def is_installed() -> bool:
    """Whether Vela is there."""
    return importlib.util.find_spec("ethosu") is not None


def check_section(key: str, kind: str, name: str) -> None:
    """Refuses a section that Vela's configuration file does not have.

    Args:
        key: of the configuration, for the message.
        kind: System_Config or Memory_Mode.
        name: of the section.

    Raises:
        ConfigError: lists the sections that there are.
    """
    spec = importlib.util.find_spec("ethosu")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    reader = configparser.ConfigParser()
    reader.read(Path(folder, "config_files", CONFIG_FILE) for folder in folders)
    known = [section.partition(".")[2] for section in reader.sections() if section.startswith(f"{kind}.")]
    if known and name not in known:
        raise ConfigError(f"{key}={name}: expected one of {', '.join(known)}")


def compiled_device(summary: Mapping[str, str]) -> Device:
    """The processor that a network was compiled for, with its peaks.

    Args:
        summary: the row of Vela's summary file.
    """
    name = summary["accelerator_configuration"]
    family, _, macs = name.rpartition("_")
    clock = float(summary["core_clock"])
    # Elsewhere weights and maps move through different memories, and no single bandwidth bounds them.
    in_dram = {summary["weights_storage_area"], summary["feature_map_storage_area"]} == {"DRAM"}
    bandwidth = float(summary["dram_bandwidth"]) * _GIB / 1e9 if in_dram else None
    return Device(
        name=name.lower(),
        title=f"Arm {family.replace('_', '-')}, {macs} MACs at {_frequency(clock)}"
        + (f", DRAM of {bandwidth:.3g} GB/s" if bandwidth else ""),
        tera_macs=int(macs) * clock / 1e12,
        gigabytes_per_s=bandwidth,
        source=f"MACs per cycle by its name; clock and memory: {summary['system_config']} of Vela's {CONFIG_FILE}",
    )


def describe_hardware(summary: Mapping[str, str], device: Device) -> dict[str, str]:
    """What an estimate holds for."""
    size = float(summary["arena_cache_size"])
    limit = f"{size:.0f} KiB on the chip" if size < _NO_LIMIT_KIB else "no limit to the memory on the chip"
    return {
        "device": f"{device.title}; simulated by Vela's model of the processor, not run",
        "accelerator": summary["accelerator_configuration"],
        "clock": f"{float(summary['core_clock']) / 1e6:.0f} MHz",
        "system": summary["system_config"],
        "memory mode": f"{summary['memory_mode']}, {limit}",
        "weights, maps": f"{summary['weights_storage_area']}, {summary['feature_map_storage_area']}",
    }


def _frequency(hertz: float) -> str:
    return f"{hertz / 1e9:g} GHz" if hertz >= 1e9 else f"{hertz / 1e6:g} MHz"
