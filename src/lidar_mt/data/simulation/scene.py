"""Simulates one scene: scans every turn, writes its files and returns its table rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation import geometry
from lidar_mt.data.simulation.annotate import Sighting, annotate_scene, look_at_keyframe
from lidar_mt.data.simulation.lidar import Turn, draw_gains, scan
from lidar_mt.data.simulation.map_mask import GlobalFrame, draw_global_frame, render_mask
from lidar_mt.data.simulation.records import Namer, Record, Tables, link
from lidar_mt.data.simulation.traffic import STEP_S
from lidar_mt.data.simulation.world import World, build_world

Float64 = npt.NDArray[np.float64]

#: Turns between two keyframes: 20 Hz against 2 Hz.
TURNS_PER_KEYFRAME = 10
# Mean mounting of LIDAR_TOP on the ego: x forward of the rear axle, height, and quaternion (yaw -90 degrees, tilted).
_MOUNT = (0.943713, 0.0, 1.84023)
_TILT = (0.0, 0.043)
_FIRST_DAY = datetime(2018, 8, 1, 15, 0, 0, tzinfo=timezone.utc)


@dataclass(frozen=True)
class SceneJob:
    """What to simulate.

    Attributes:
        root: data set folder to write into.
        name: scene name.
        index: position of the scene in the data set, for its date.
        keyframes: number of keyframes.
        sweeps: turns written before each keyframe, 0 to 9 (the tenth is the keyframe before).
        namer: tokens and seeds.
    """

    root: Path
    name: str
    index: int
    keyframes: int
    sweeps: int
    namer: Namer


def simulate_scene(job: SceneJob, on_keyframe: Callable[[], None] = lambda: None) -> Tables:
    """Writes the point, label and map files of one scene.

    Args:
        job: what to simulate.
        on_keyframe: called after each keyframe.

    Returns:
        The scene's rows of each table, `lidarseg` among them.
    """
    rng = np.random.default_rng(job.namer.entropy(job.name, "world"))
    turns = (job.keyframes - 1) * TURNS_PER_KEYFRAME + 1
    world = build_world(turns, rng)
    frame = draw_global_frame(world.ground, rng)
    log = _log(job)
    calibration = _calibration(job, rng)
    recorder = _Recorder(job, world, frame, calibration, _poses(job, world, frame, rng), log["logfile"])
    for turn in range(turns):
        before_keyframe = -turn % TURNS_PER_KEYFRAME
        if before_keyframe <= job.sweeps:
            recorder.record(turn, is_keyframe=before_keyframe == 0)
        if before_keyframe == 0:
            on_keyframe()
    samples = link(recorder.samples)
    annotations, instances = annotate_scene(job.namer, job.name, world.actors, recorder.sightings)
    map_record = _write_map(job, world, frame, log["token"])
    scene = {
        "token": job.namer.token("scene", job.name),
        "log_token": log["token"],
        "nbr_samples": len(samples),
        "first_sample_token": samples[0]["token"],
        "last_sample_token": samples[-1]["token"],
        "name": job.name,
        "description": "Simulated town",
    }
    return {
        "calibrated_sensor": [calibration],
        "ego_pose": [recorder.poses[turn] for turn in recorder.turns],
        "instance": instances,
        "log": [log],
        "map": [map_record],
        "sample": samples,
        "sample_annotation": annotations,
        "sample_data": link(recorder.sample_data),
        "scene": [scene],
        "lidarseg": recorder.lidarseg,
    }


class _Recorder:
    """Scans turns, writes their files and collects their records."""

    def __init__(
        self,
        job: SceneJob,
        world: World,
        frame: GlobalFrame,
        calibration: Record,
        poses: list[Record],
        logfile: str,
    ) -> None:
        self._job, self._world, self._frame = job, world, frame
        self._calibration, self._logfile = calibration, logfile
        self.poses = poses
        self._gains = draw_gains(np.random.default_rng(job.namer.entropy(job.name, "gains")))
        self.turns: list[int] = []
        self.samples: list[Record] = []
        self.sample_data: list[Record] = []
        self.lidarseg: list[Record] = []
        self.sightings: list[Sighting] = []

    def record(self, turn: int, is_keyframe: bool) -> None:
        """Scans one turn; keyframes also get labels and a look at every actor."""
        rng = np.random.default_rng(self._job.namer.entropy(self._job.name, "turn", turn))
        pose = self.poses[turn]
        bodies = self._world.bodies(turn)
        scanned = scan(self._world.ground, bodies, *self._sensor_in_town(pose), self._gains, rng)
        # A sweep belongs to the keyframe that follows it.
        keyframe = -(-turn // TURNS_PER_KEYFRAME)
        sample_token = self._job.namer.token("sample", self._job.name, keyframe)
        if is_keyframe:
            sighting = look_at_keyframe(
                self._world,
                self._frame,
                keyframe * TURNS_PER_KEYFRAME,
                scanned,
                bodies.actors,
                pose,
                self._calibration,
                rng,
            )
            self.sightings.append(sighting)
            self._add_sample(sample_token, pose["timestamp"])
            self._write_labels(scanned, pose["token"])
        folder = "samples" if is_keyframe else "sweeps"
        filename = f"{folder}/LIDAR_TOP/{self._logfile}__LIDAR_TOP__{pose['timestamp']}.pcd.bin"
        scanned.points.tofile(self._job.root / filename)
        self.turns.append(turn)
        self.sample_data.append(self._sample_data(sample_token, pose, is_keyframe, filename))

    def _sensor_in_town(self, pose: Record) -> tuple[Float64, Float64]:
        """Position and rotation of the sensor in the town's frame, from the record that is written."""
        cos, sin = np.cos(self._frame.yaw), np.sin(self._frame.yaw)
        town_from_global = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        origin = geometry.to_global(np.zeros((1, 3)), pose, self._calibration)[0]
        global_from_sensor = geometry.rotation_matrix(pose["rotation"]) @ geometry.rotation_matrix(
            self._calibration["rotation"]
        )
        return town_from_global @ (origin - np.array([*self._frame.offset, 0.0])), town_from_global @ global_from_sensor

    def _add_sample(self, token: str, timestamp: int) -> None:
        scene_token = self._job.namer.token("scene", self._job.name)
        self.samples.append(
            {"token": token, "timestamp": timestamp, "prev": "", "next": "", "scene_token": scene_token}
        )

    def _write_labels(self, scanned: Turn, sample_data_token: str) -> None:
        filename = f"lidarseg/{self._job.namer.version}/{sample_data_token}_lidarseg.bin"
        scanned.labels.tofile(self._job.root / filename)
        self.lidarseg.append({"token": sample_data_token, "sample_data_token": sample_data_token, "filename": filename})

    def _sample_data(self, sample_token: str, pose: Record, is_keyframe: bool, filename: str) -> Record:
        # As in the official tables, a sample_data record and its ego_pose record share one token.
        return {
            "token": pose["token"],
            "sample_token": sample_token,
            "ego_pose_token": pose["token"],
            "calibrated_sensor_token": self._calibration["token"],
            "timestamp": pose["timestamp"],
            "fileformat": "pcd",
            "is_key_frame": is_keyframe,
            "height": 0,
            "width": 0,
            "filename": filename,
            "prev": "",
            "next": "",
        }


def _log(job: SceneJob) -> Record:
    date = _FIRST_DAY + timedelta(days=job.index)
    return {
        "token": job.namer.token("log", job.name),
        "logfile": f"sim-{date:%Y-%m-%d-%H-%M-%S}-{job.name}",
        "vehicle": "sim",
        "date_captured": f"{date:%Y-%m-%d}",
        "location": f"sim-town-{job.name}",
    }


def _calibration(job: SceneJob, rng: np.random.Generator) -> Record:
    tilt = np.array(_TILT) + rng.normal(0, 0.004, 2)
    return {
        "token": job.namer.token("calibrated_sensor", job.name),
        "sensor_token": job.namer.token("sensor", "LIDAR_TOP"),
        "translation": list(_MOUNT),
        "rotation": geometry.euler_quaternion(float(tilt[0]), float(tilt[1]), float(-np.pi / 2 + rng.normal(0, 0.004))),
        "camera_intrinsic": [],
    }


def _poses(job: SceneJob, world: World, frame: GlobalFrame, rng: np.random.Generator) -> list[Record]:
    """Ego poses of all turns: the body leans a little with acceleration and on the springs."""
    begin = int((_FIRST_DAY + timedelta(days=job.index)).timestamp() * 1e6) + int(rng.integers(1_000_000))
    turns = np.arange(len(world.ego_poses))
    jitter = rng.integers(-300, 301, len(turns))
    speed = np.hypot(*np.gradient(world.ego_poses[:, :2], STEP_S, axis=0).T) if len(turns) > 1 else np.zeros(1)
    acceleration = np.gradient(speed, STEP_S) if len(turns) > 1 else np.zeros(1)
    phase = rng.uniform(0, 2 * np.pi, 2)
    roll = 0.004 * np.sin(turns * 0.21 + phase[0])
    pitch = -0.004 * acceleration + 0.003 * np.sin(turns * 0.27 + phase[1])
    xy = frame.to_global(world.ego_poses[:, :2])
    records = []
    for turn in turns:
        yaw = float(world.ego_poses[turn, 3] + frame.yaw)
        records.append(
            {
                "token": job.namer.token("sample_data", job.name, turn),
                "timestamp": begin + round(turn * STEP_S * 1e6) + int(jitter[turn]),
                "rotation": geometry.euler_quaternion(float(roll[turn]), float(pitch[turn]), yaw),
                "translation": [float(xy[turn, 0]), float(xy[turn, 1]), float(world.ego_poses[turn, 2])],
            }
        )
    return records


def _write_map(job: SceneJob, world: World, frame: GlobalFrame, log_token: str) -> Record:
    token = job.namer.token("map", job.name)
    filename = f"maps/{token}.png"
    render_mask(world.ground, frame).save(job.root / filename, optimize=False)
    return {"category": "semantic_prior", "token": token, "filename": filename, "log_tokens": [log_token]}
