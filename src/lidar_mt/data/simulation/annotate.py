"""Annotations of one scene: boxes, point counts, visibility, attributes and tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation import geometry
from lidar_mt.data.simulation.actors import Actor
from lidar_mt.data.simulation.lidar import NO_RETURN, Turn
from lidar_mt.data.simulation.map_mask import GlobalFrame
from lidar_mt.data.simulation.records import Namer, Record, link
from lidar_mt.data.simulation.shapes import BOX_MARGIN
from lidar_mt.data.simulation.taxonomy import EGO
from lidar_mt.data.simulation.world import World

Float64 = npt.NDArray[np.float64]

#: No return may lie closer than this to a face of a box [m]: whoever counts, in whatever order of floating-point
#: operations, gets the same number.
BORDER = 1e-4
#: Objects further from the ego than this are not annotated [m].
ANNOTATION_RANGE = 95.0
_RADAR_RANGE, _RADAR_MEAN = 70.0, 4.0


@dataclass(frozen=True)
class Sighting:
    """What a keyframe saw of every actor.

    Attributes:
        keyframe: index of the keyframe.
        boxes: partial sample_annotation record by actor: translation, size, rotation, counts.
        visibility: (A,) visibility token of each actor.
        timestamp_us: time of the keyframe [us].
    """

    keyframe: int
    boxes: dict[int, Record]
    visibility: list[str]
    timestamp_us: int


def look_at_keyframe(
    world: World,
    frame: GlobalFrame,
    turn: int,
    scanned: Turn,
    owners: npt.NDArray[np.int32],
    pose: Record,
    calibration: Record,
    rng: np.random.Generator,
) -> Sighting:
    """Measures boxes against the points of a keyframe, after removing returns on the very border of a box.

    Args:
        world: the scene.
        frame: where the town lies.
        turn: the keyframe's turn.
        scanned: the turn; points on a border become rays without return.
        owners: actor of each scanned primitive.
        pose: ego_pose record.
        calibration: calibrated_sensor record.
        rng: draws radar counts.
    """
    poses = world.actor_poses[:, turn]
    ego = world.ego_poses[turn]
    near = np.flatnonzero(np.hypot(poses[:, 0] - ego[0], poses[:, 1] - ego[1]) < ANNOTATION_RANGE)
    boxes = {int(i): _box(world.actors[i], poses[i], frame) for i in near}
    points = geometry.to_global(scanned.points[:, :3].astype(np.float64), pose, calibration)
    _count_points(boxes, points, scanned)
    for i, box in boxes.items():
        box["num_radar_pts"] = _radar_points(world.actors[i], box["num_lidar_pts"], poses[i] - ego, rng)
    return Sighting(turn // 10, boxes, _visibility(scanned, owners, len(poses)), int(pose["timestamp"]))


def _box(actor: Actor, pose: Float64, frame: GlobalFrame) -> Record:
    """Annotated box, in whole millimetres as the official ones are."""
    body = actor.body
    x, y = frame.to_global(pose[None, :2])[0]
    height = body.height + BOX_MARGIN
    return {
        "translation": [round(float(x), 3), round(float(y), 3), round(float(pose[2] + height / 2), 3)],
        "size": [round(float(v), 3) for v in (body.width + 2 * BOX_MARGIN, body.length + 2 * BOX_MARGIN, height)],
        "rotation": geometry.yaw_quaternion(float(pose[3] + frame.yaw)),
    }


def _count_points(boxes: dict[int, Record], points: Float64, scanned: Turn) -> None:
    """Fills num_lidar_pts; two passes, as a border point of one box may be inside of another."""
    candidates = {}
    flat = points[:, :2].astype(np.float32)
    for i, box in boxes.items():
        reach = 0.5 * float(np.hypot(*box["size"][:2])) + 0.01
        x, y = box["translation"][:2]
        near = np.flatnonzero((np.abs(flat[:, 0] - x) < reach) & (np.abs(flat[:, 1] - y) < reach))
        clearance = geometry.box_clearance(points[near], box)
        candidates[i] = near, clearance
        border = near[np.abs(clearance) < BORDER]
        scale = NO_RETURN / np.maximum(np.linalg.norm(scanned.points[border, :3], axis=1), NO_RETURN)
        scanned.points[border, :3] *= scale[:, None]
        scanned.points[border, 3] = 0
        scanned.labels[border] = EGO
    returned = np.abs(scanned.points[:, :3]).max(axis=1) > 2 * NO_RETURN
    for i, (near, clearance) in candidates.items():
        boxes[i]["num_lidar_pts"] = int(((clearance >= 0) & returned[near]).sum())


def _speeds(sightings: list[Sighting], actor: int) -> Float64:
    """Speeds of an actor over its keyframes [m/s], from the neighbouring boxes as the devkit takes velocities."""
    if len(sightings) == 1:
        return np.zeros(1)
    position = np.array([sighting.boxes[actor]["translation"][:2] for sighting in sightings])
    time = np.array([sighting.timestamp_us for sighting in sightings], dtype=np.int64)
    before = np.maximum(np.arange(len(time)) - 1, 0)
    after = np.minimum(np.arange(len(time)) + 1, len(time) - 1)
    seconds = (time[after] - time[before]) * 1e-6
    return np.asarray(np.hypot(*(position[after] - position[before]).T) / seconds, dtype=np.float64)


def _visibility(scanned: Turn, owners: npt.NDArray[np.int32], actors: int) -> list[str]:
    """Visibility token of each actor: which share of the rays that would meet it alone does meet it."""
    hits = scanned.hits
    owner = owners[hits.pair_primitive]
    mine = owner >= 0
    rays = np.int64(len(hits.primitive))
    alone = np.bincount(np.unique(owner[mine] * rays + hits.pair_ray[mine]) // rays, minlength=actors)
    seen = owners[hits.primitive[hits.primitive >= 0]]
    visible = np.bincount(seen[seen >= 0], minlength=actors)
    share = visible / np.maximum(alone, 1)
    return [str(level) for level in 1 + np.digitize(share, [0.4, 0.6, 0.8])]


def _radar_points(actor: Actor, lidar_points: int, offset: Float64, rng: np.random.Generator) -> int:
    """A plausible radar count: metal in sight, more when near."""
    mean = _RADAR_MEAN if actor.body.category.startswith("vehicle.") else 0.4
    distance = float(np.hypot(offset[0], offset[1]))
    drawn = int(rng.poisson(mean * max(0.0, 1 - distance / _RADAR_RANGE)))
    return drawn if lidar_points else 0


def annotate_scene(
    name: Namer, scene: str, actors: list[Actor], sightings: list[Sighting]
) -> tuple[list[Record], list[Record]]:
    """Builds the annotations of every actor from its first to its last keyframe with points.

    Returns:
        sample_annotation and instance records.
    """
    annotations: list[Record] = []
    instances: list[Record] = []
    for i, actor in enumerate(actors):
        seen = [k for k, s in enumerate(sightings) if s.boxes.get(i, {}).get("num_lidar_pts", 0) > 0]
        if not seen:
            continue
        instance = name.token("instance", scene, i)
        span = [sightings[k] for k in range(seen[0], seen[-1] + 1) if i in sightings[k].boxes]
        attributes = [actor.attribute(float(speed)) for speed in _speeds(span, i)]
        track = [
            _annotation(name, scene, instance, i, sighting, attribute)
            for sighting, attribute in zip(span, attributes, strict=True)
        ]
        annotations += link(track)
        instances.append(
            {
                "token": instance,
                "category_token": name.token("category", actor.body.category),
                "nbr_annotations": len(track),
                "first_annotation_token": track[0]["token"],
                "last_annotation_token": track[-1]["token"],
            }
        )
    return annotations, instances


def _annotation(
    name: Namer, scene: str, instance: str, index: int, sighting: Sighting, attribute: str | None
) -> Record:
    return {
        "token": name.token("sample_annotation", scene, index, sighting.keyframe),
        "sample_token": name.token("sample", scene, sighting.keyframe),
        "instance_token": instance,
        "visibility_token": sighting.visibility[index],
        "attribute_tokens": [name.token("attribute", attribute)] if attribute else [],
        **sighting.boxes[index],
        "prev": "",
        "next": "",
    }
