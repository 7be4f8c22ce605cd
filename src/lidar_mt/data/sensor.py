"""A LiDAR that is mounted in another way than that of nuScenes: its points into the network's frame, boxes back.

The network's frame is that of the nuScenes LiDAR: x right, y forward, z up, origin 1.84 m above the road. Another
sensor needs a turn about z and a shift along z:

    network_from_sensor:   x' = x cos a - y sin a        a = rotation_deg, counter-clockwise seen from above
                           y' = x sin a + y cos a        +90 for a sensor whose x points forward and y left
                           z' = z + height_m - 1.84      the road is where it was in training
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidar_mt.structures.errors import ConfigError

#: Of the nuScenes LiDAR above the road [m]: the z of its `calibrated_sensor` records, whose ego frame is on the road.
NUSCENES_HEIGHT_M = 1.84
_INTENSITY = 3

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sensor:
    """What a point file holds and how the sensor that wrote it stands.

    Attributes:
        columns: names or number of the values per point, see `data.point_file`; None takes what the file says.
        intensity_scale: factor to the nuScenes intensity of 0 to 255; 255 for files of 0 to 1.
        height_m: height of the sensor's origin above the road [m].
        rotation_deg: turn about z, counter-clockwise, that brings the sensor's axes to x right, y forward [deg].

    Raises:
        ConfigError: a number is not finite, or the scale is not positive.
    """

    columns: Sequence[str] | int | None = None
    intensity_scale: float = 1.0
    height_m: float = NUSCENES_HEIGHT_M
    rotation_deg: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.columns, Sequence) and not isinstance(self.columns, str):
            object.__setattr__(self, "columns", tuple(str(name) for name in self.columns))
        for name in ("intensity_scale", "height_m", "rotation_deg"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"sensor.{name}={getattr(self, name)}: expected a finite number")
        if self.intensity_scale <= 0:
            raise ConfigError(f"sensor.intensity_scale={self.intensity_scale}: expected a positive factor, such as 255")

    @property
    def network_from_sensor(self) -> npt.NDArray[np.float64]:
        """(4, 4) float64 rigid transform of the sensor's frame into the network's."""
        cos, sin = _cos_sin(self.rotation_deg)
        transform = np.eye(4)
        transform[:2, :2] = [[cos, -sin], [sin, cos]]
        transform[2, 3] = self.height_m - NUSCENES_HEIGHT_M
        return transform

    @property
    def sensor_from_network(self) -> npt.NDArray[np.float64]:
        """(4, 4) float64 the way back, for boxes."""
        there = self.network_from_sensor
        back = np.eye(4)
        back[:3, :3] = there[:3, :3].T
        back[:3, 3] = -there[:3, :3].T @ there[:3, 3]
        return back

    @property
    def frame(self) -> str:
        """In words, the frame that the sensor's points and boxes are in."""
        if self.rotation_deg == 0:
            return "lidar: x right, y forward, z up [m]"
        return f"lidar: as in the point file, {self.rotation_deg:g} deg from x right, y forward; z up [m]"

    def to_network(self, points: FloatArray) -> FloatArray:
        """Points as the network expects them.

        Args:
            points: (P, 5) float32 x y z [m] in the sensor's frame, intensity, time lag [s].

        Returns:
            (P, 5) float32, a copy: x y z in the network's frame, intensity times the scale, the same time lag.
        """
        transform = self.network_from_sensor.astype(np.float32)
        out = points.copy()
        out[:, :3] = points[:, :3] @ transform[:3, :3].T + transform[:3, 3]
        out[:, _INTENSITY] *= np.float32(self.intensity_scale)
        return out


def _cos_sin(angle_deg: float) -> tuple[float, float]:
    """Exact for whole quarter turns, so that a turned sensor's points fall into the very same pillars."""
    quarters = angle_deg / 90.0
    if quarters == round(quarters):
        return [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][round(quarters) % 4]
    return math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
