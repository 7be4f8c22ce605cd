"""The bird's-eye-view grid: range, cell size and the figures derived from them.

Seen from above, in the LiDAR frame of nuScenes (x right, y forward, z up):

      y (forward)                       column 0 ........ W-1   (x grows)
      ^                          row 0  +------------------+    y = y_min
      |                                 |                  |
      +--> x (right)                    |        ego       |
                                        |                  |
                                 H-1    +------------------+    y = y_max

Rows are y and columns are x; row 0 is at the smallest y. A picture therefore shows forward downwards
unless it is flipped, which `visualization` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from lidar_mt.structures.errors import ConfigError

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Grid:
    """Range and resolution of the pillar grid and of the heads' output maps.

    Attributes:
        point_cloud_range: x0, y0, z0, x1, y1, z1 [m] in the LiDAR frame; the lower bound is inside, the upper outside.
        voxel_size: cell size along x, y, z [m].
        head_stride: input cells per cell of the heads' output maps, along each axis.

    Raises:
        ConfigError: the range is empty or not a whole multiple of the cell size and of 32 cells.

    Example:
        >>> grid = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.2, 0.2, 8.0))
        >>> grid.shape, grid.head_shape
        ((512, 512), (128, 128))
    """

    point_cloud_range: tuple[float, float, float, float, float, float]
    voxel_size: tuple[float, float, float]
    head_stride: int = 4

    def __post_init__(self) -> None:
        # Configurations hand over lists; values must hash and compare.
        object.__setattr__(self, "point_cloud_range", tuple(float(v) for v in self.point_cloud_range))
        object.__setattr__(self, "voxel_size", tuple(float(v) for v in self.voxel_size))
        low, high = self.point_cloud_range[:3], self.point_cloud_range[3:]
        if any(b <= a for a, b in zip(low, high, strict=True)) or any(v <= 0 for v in self.voxel_size):
            raise ConfigError(f"grid: empty range {self.point_cloud_range} or cell size {self.voxel_size}")
        for name, a, b, size in zip("xyz", low, high, self.voxel_size, strict=True):
            cells = (b - a) / size
            if abs(cells - round(cells)) > _TOLERANCE * cells:
                raise ConfigError(f"grid: the {name} range {a}..{b} m is not a whole number of cells of {size} m")
        # The backbone halves the map five times and the neck doubles it back.
        if self.height % 32 or self.width % 32:
            raise ConfigError(f"grid: {self.height} x {self.width} cells; both must be multiples of 32")

    @property
    def width(self) -> int:
        """Number of columns W (x)."""
        return round((self.point_cloud_range[3] - self.point_cloud_range[0]) / self.voxel_size[0])

    @property
    def height(self) -> int:
        """Number of rows H (y)."""
        return round((self.point_cloud_range[4] - self.point_cloud_range[1]) / self.voxel_size[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the pillar canvas and of the BEV label map."""
        return self.height, self.width

    @property
    def head_shape(self) -> tuple[int, int]:
        """(H, W) of the heads' output maps."""
        return self.height // self.head_stride, self.width // self.head_stride

    @property
    def head_cell_size(self) -> tuple[float, float]:
        """Size of a cell of the heads' output maps along x and y [m]."""
        return self.voxel_size[0] * self.head_stride, self.voxel_size[1] * self.head_stride
