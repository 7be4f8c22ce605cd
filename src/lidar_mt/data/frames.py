"""The frames of an inference run: one file, a folder of files or a packed split, one after the other."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lidar_mt.data.dataset import NuScenesLidarDataset
from lidar_mt.data.lmdb_store.points import PointColumns
from lidar_mt.data.point_file import SUFFIXES, check_columns, point_name, read_point_file
from lidar_mt.data.sensor import Sensor
from lidar_mt.data.sweeps import TIME_LAG, merge_sweeps
from lidar_mt.structures.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float32]

#: Intensities of nuScenes.
_MAX_INTENSITY = 255.0
_INTENSITY = 3

log = logging.getLogger(__name__)


class Frame(NamedTuple):
    """What one prediction is made of.

    Attributes:
        source: file or sample token.
        points: (P, 5) float32 to be shown, each point once: x y z [m] in the network's frame, intensity, time lag [s].
        merged: (Q, 5) float32 what the network gets; as dense as its training data.
        truth_boxes: (N, 9) float32 annotated boxes in the network's frame, None where there are no annotations.
        truth_labels: (N,) int64 their classes.
    """

    source: str
    points: FloatArray
    merged: FloatArray
    truth_boxes: FloatArray | None = None
    truth_labels: npt.NDArray[np.int64] | None = None


class Frames(Protocol):
    """Frames by index."""

    @property
    def names(self) -> Sequence[str]:
        """Name of each frame, unlike all others: the path of its results without an ending."""

    @property
    def sensor(self) -> Sensor:
        """How the sensor stands; boxes are written in its frame."""

    def state(self, index: int) -> list[str | int]:
        """Plain values that are others once a frame's input has changed."""

    def read(self, index: int) -> Frame:
        """Reads a frame.

        Raises:
            DataError: it is missing or damaged; the message names it.
        """


class PointFiles:
    """Point files as frames.

    Args:
        files: as `find_point_files` gives them.
        root: folder that names are relative to.
        sensor: what the files hold and how the sensor stands.
        num_sweeps: sweeps that the network was trained with.

    Raises:
        ConfigError: the sensor's columns are unknown.
    """

    def __init__(self, files: Sequence[Path], root: Path, sensor: Sensor, num_sweeps: int) -> None:
        check_columns(sensor.columns)
        self.sensor = sensor
        self.names = _names(files, root)
        self._files = files
        self._num_sweeps = num_sweeps
        self._warned = False

    def state(self, index: int) -> list[str | int]:
        """Path, size and time of change of the file; see `Frames.state`."""
        return file_state(self._files[index])

    def read(self, index: int) -> Frame:
        """Reads a file; see `Frames.read`."""
        path = self._files[index]
        points = self.sensor.to_network(read_point_file(path, self.sensor.columns))
        self._check_intensity(points[:, _INTENSITY], path)
        # A single sweep is treated like a keyframe without sweeps in training; merged clouds stay as they are.
        single = not points[:, TIME_LAG].any()
        merged = merge_sweeps(PointColumns.of(points), [], self._num_sweeps) if single else points
        return Frame(str(path), points, merged)

    def _check_intensity(self, intensity: FloatArray, path: Path) -> None:
        """Warns once where the numbers look like those of another scale, which costs accuracy without any error."""
        largest = float(intensity.max())
        small, large = 0.0 < largest <= 1.0, largest > _MAX_INTENSITY
        if (small or large) and not self._warned:
            self._warned = True
            hint = "255" if small else f"{_MAX_INTENSITY / largest:.3g}"
            log.warning(
                "%s: intensities reach up to %.4g, the network was trained with 0 to 255; perhaps say "
                "sensor.intensity_scale=%s",
                path,
                largest,
                hint,
            )


class PackedSamples:
    """Keyframes of a packed split with their sweeps, as evaluation sees them.

    Args:
        dataset: without transforms, in evaluation.
        samples: see `choose_samples`.
        state: of the store that the dataset reads, see `Frames.state`.

    Raises:
        ConfigError: the split has no such sample.
    """

    sensor = Sensor()

    def __init__(
        self,
        dataset: NuScenesLidarDataset,
        samples: int | Sequence[int | str] | None = None,
        state: Sequence[str | int] = (),
    ) -> None:
        self._state = list(state)
        tokens = [dataset.token(index) for index in range(len(dataset))]
        self._dataset = dataset
        self._indices = choose_samples(tokens, samples)
        self.names = [tokens[index] for index in self._indices]

    def state(self, index: int) -> list[str | int]:
        """That of the store, and the token; see `Frames.state`."""
        return [*self._state, self.names[index]]

    def read(self, index: int) -> Frame:
        """Reads a keyframe; see `Frames.read`."""
        sample = self._dataset[self._indices[index]]
        return Frame(sample.token, sample.points, sample.points, sample.boxes, sample.labels)


def file_state(path: Path) -> list[str | int]:
    """Absolute path, size [bytes] and time of the last change [ns] of a file; the path alone where there is none."""
    if not path.is_file():
        return [str(path.resolve())]
    found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]


def find_point_files(path: Path, recursive: bool = False) -> list[Path]:
    """The point files that a path names, sorted by path.

    Args:
        path: a file, or a folder.
        recursive: look into the folder's folders too.

    Returns:
        At least one file. A file that is named itself is not looked at.

    Raises:
        DataError: there is no such file or folder, or no point file in it.
    """
    if not path.is_dir():
        if not path.is_file():
            raise DataError(f"{path}: no such file or folder; give a {', '.join(SUFFIXES)} file or a folder of them")
        return [path]
    found = path.rglob("*") if recursive else path.iterdir()
    files = sorted(
        file
        for file in found
        if file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        hint = "" if recursive else "; recursive=true looks into its folders too"
        raise DataError(f"{path}: the folder holds no {', '.join(SUFFIXES)} file{hint}")
    return files


def choose_samples(tokens: Sequence[str], samples: int | Sequence[int | str] | None) -> list[int]:
    """Which samples of a split to take.

    Args:
        tokens: of all samples.
        samples: a number takes so many, evenly spread; a list takes these indices or tokens; None takes all.

    Returns:
        Indices, in the order of the list, or growing.

    Raises:
        ConfigError: the number is not positive, or the split has no such sample.

    Example:
        >>> choose_samples(["a", "b", "c", "d", "e"], 3), choose_samples(["a", "b"], ["b", 0])
        ([0, 2, 4], [1, 0])
    """
    if samples is None:
        return list(range(len(tokens)))
    if isinstance(samples, int) and not isinstance(samples, bool) and samples > 0:
        if samples > len(tokens):
            log.warning("samples=%d: there are %d, all of them are taken", samples, len(tokens))
        return evenly(len(tokens), samples)
    if isinstance(samples, str | int | bool) or not samples:
        raise ConfigError(f"samples={samples}: expected a positive number, or a list of indices and sample tokens")
    place = {token: index for index, token in enumerate(tokens)}
    found = [item if isinstance(item, int) and 0 <= item < len(tokens) else place.get(str(item)) for item in samples]
    missing = [str(item) for item, index in zip(samples, found, strict=True) if index is None]
    if missing:
        raise ConfigError(f"samples={missing[0]}: no such sample; the split has the indices 0 to {len(tokens) - 1}")
    return [index for index in dict.fromkeys(found) if index is not None]


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` indices, evenly spread, the first and the last among them."""
    if wanted <= 0 or count == 0:
        return []
    return sorted(set(np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist()))


def _names(files: Sequence[Path], root: Path) -> list[str]:
    """Path below the root without the ending; with it where two files would have one name."""
    short = [file.relative_to(root).with_name(point_name(file)).as_posix() for file in files]
    times = Counter(short)
    return [
        file.relative_to(root).as_posix() if times[name] > 1 else name for file, name in zip(files, short, strict=True)
    ]
