"""Published peak figures of devices, and what a network could reach on them at best: a bound, never a measurement."""

from __future__ import annotations

import msgspec

from lidar_mt.deploy.graph_cost import GraphCost


class Device(msgspec.Struct, frozen=True):
    """A device.

    Attributes:
        name: in one word.
        title: for people.
        tera_macs: peak of dense 8-bit multiply-accumulates [10^12 / s]: half of the published TOPS.
        gigabytes_per_s: peak of the external memory; None where nothing is published.
        source: of the figures.
    """

    name: str
    title: str
    tera_macs: float
    gigabytes_per_s: float | None
    source: str


_J6 = "as reported of the Journey 6 series, unconfirmed; memory bandwidth not published"
_ARM = "https://www.arm.com/products/silicon-ip-cpu/ethos"
_VELA = "of Vela's Arm/vela.ini (https://gitlab.arm.com/artificial-intelligence/ethos-u/ethos-u-vela)"
DEVICES = {
    device.name: device
    for device in (
        Device(
            "ethos_u85_2048",
            "Arm Ethos-U85, 2048 MACs at 1 GHz, DRAM of 24 GB/s",
            2.048,
            24.0,
            f"Arm: 128 to 2048 MACs per cycle, 4 TOPS at 1 GHz ({_ARM}/ethos-u85); "
            f"DRAM: Ethos_U85_SYS_DRAM_High {_VELA}",
        ),
        Device(
            "ethos_u85_512",
            "Arm Ethos-U85, 512 MACs at 1 GHz, DRAM of 12 GB/s",
            0.512,
            12.0,
            "Arm: as above; DRAM: Ethos_U85_SYS_DRAM_Mid of the same file",
        ),
        Device(
            "ethos_u65_512",
            "Arm Ethos-U65, 512 MACs at 1 GHz, DRAM of 3.75 GB/s",
            0.512,
            3.75,
            f"Arm: 1 TOPS at 1 GHz, 2020 ({_ARM}/ethos-u65); DRAM: Ethos_U65_High_End {_VELA}",
        ),
        Device(
            "jetson_orin",
            "NVIDIA Jetson AGX Orin 64 GB, GPU and two DLAs, MAXN, dense",
            68.75,
            204.8,
            "NVIDIA: 275 sparse INT8 TOPS (171 GPU + 105 DLA, https://github.com/NVIDIA/Deep-Learning-Accelerator-SW), "
            "dense half of it; "
            "LPDDR5 204.8 GB/s: 256 bit at 6400 MT/s (AGX Orin Series Technical Brief; unconfirmed)",
        ),
        Device(
            "horizon_j5",
            "Horizon Journey 5",
            64.0,
            None,
            "Horizon: 128 TOPS (Open Explorer manual, overview of Journey 5); memory bandwidth not published",
        ),
        Device("horizon_j6e", "Horizon Journey 6E", 40.0, None, f"80 TOPS, {_J6}"),
        Device("horizon_j6m", "Horizon Journey 6M", 64.0, None, f"128 TOPS, {_J6}"),
        Device(
            "horizon_j6p",
            "Horizon Journey 6P",
            280.0,
            None,
            "560 TOPS: Horizon's director of chip products, July 2025 (China EV Times); memory bandwidth not published",
        ),
    )
}


class Bound(msgspec.Struct, frozen=True):
    """Least time of a network on a device.

    Attributes:
        device: what it is for.
        compute_ms: every multiplier busy in every cycle.
        memory_ms: weights, canvas and results move once, all else stays on the chip; None where bandwidth is unknown.
    """

    device: Device
    compute_ms: float
    memory_ms: float | None

    @property
    def least_ms(self) -> float:
        """The larger of both."""
        return max(self.compute_ms, self.memory_ms or 0.0)


def bound(device: Device, cost: GraphCost) -> Bound:
    """Roofline of a network on a device."""
    memory = None if device.gigabytes_per_s is None else cost.least_bytes / device.gigabytes_per_s / 1e6
    return Bound(device, cost.total_macs / device.tera_macs / 1e9, memory)
