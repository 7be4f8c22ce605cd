"""Names, indices and materials of the simulated data set, as the nuScenes schema spells them."""

from __future__ import annotations

import numpy as np

#: nuScenes-lidarseg categories; the position is the index stored per point.
#: Source: nuScenes-lidarseg category.json.
LIDARSEG_NAMES = (
    "noise",
    "animal",
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.barrier",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "movable_object.trafficcone",
    "static_object.bicycle_rack",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck",
    "flat.driveable_surface",
    "flat.other",
    "flat.sidewalk",
    "flat.terrain",
    "static.manmade",
    "static.other",
    "static.vegetation",
    "vehicle.ego",
)
LIDARSEG_INDEX = {name: index for index, name in enumerate(LIDARSEG_NAMES)}

NOISE = LIDARSEG_INDEX["noise"]
EGO = LIDARSEG_INDEX["vehicle.ego"]
MANMADE = LIDARSEG_INDEX["static.manmade"]
STATIC_OTHER = LIDARSEG_INDEX["static.other"]
VEGETATION = LIDARSEG_INDEX["static.vegetation"]

ATTRIBUTES = {
    "vehicle.moving": "Vehicle is moving.",
    "vehicle.stopped": "Vehicle, with a driver or rider, is stationary but intends to move.",
    "vehicle.parked": "Vehicle is stationary without an immediate intent to move.",
    "cycle.with_rider": "There is a rider on the bicycle or motorcycle.",
    "cycle.without_rider": "There is no rider on the bicycle or motorcycle.",
    "pedestrian.sitting_lying_down": "The human is sitting or lying down.",
    "pedestrian.standing": "The human is standing.",
    "pedestrian.moving": "The human is moving.",
}

#: Token -> (level, description); the tokens of this table are the digits themselves.
VISIBILITY = {
    "1": ("v0-40", "visibility of whole object is between 0 and 40%"),
    "2": ("v40-60", "visibility of whole object is between 40 and 60%"),
    "3": ("v60-80", "visibility of whole object is between 60 and 80%"),
    "4": ("v80-100", "visibility of whole object is between 80 and 100%"),
}

SENSORS = {
    "LIDAR_TOP": "lidar",
    "CAM_FRONT": "camera",
    "CAM_FRONT_RIGHT": "camera",
    "CAM_BACK_RIGHT": "camera",
    "CAM_BACK": "camera",
    "CAM_BACK_LEFT": "camera",
    "CAM_FRONT_LEFT": "camera",
    "RADAR_FRONT": "radar",
    "RADAR_FRONT_RIGHT": "radar",
    "RADAR_FRONT_LEFT": "radar",
    "RADAR_BACK_LEFT": "radar",
    "RADAR_BACK_RIGHT": "radar",
}

#: Ground codes of the surface raster: name -> (lidarseg name, median intensity, raised above the road).
SURFACES = {
    "asphalt": ("flat.driveable_surface", 5.0, False),
    "marking": ("flat.driveable_surface", 34.0, False),
    "concrete": ("flat.sidewalk", 11.0, True),
    "grass": ("flat.terrain", 17.0, True),
    "island": ("flat.other", 14.0, True),
    "gravel": ("flat.terrain", 9.0, True),
}
SURFACE_CODE = {name: code for code, name in enumerate(SURFACES)}
SURFACE_LABEL = np.array([LIDARSEG_INDEX[label] for label, _, _ in SURFACES.values()], dtype=np.uint8)
SURFACE_INTENSITY = np.array([intensity for _, intensity, _ in SURFACES.values()], dtype=np.float32)
SURFACE_RAISED = np.array([raised for _, _, raised in SURFACES.values()])

#: Materials of bodies: name -> (median intensity, spread of its logarithm, probability that a hit returns).
MATERIALS = {
    "paint_dark": (6.0, 0.6, 0.80),
    "paint_grey": (18.0, 0.5, 0.95),
    "paint_light": (38.0, 0.4, 0.98),
    "glass": (5.0, 0.9, 0.45),
    "rubber": (5.0, 0.5, 0.85),
    "metal": (26.0, 0.6, 0.95),
    "retro": (240.0, 0.1, 1.00),
    "cloth": (16.0, 0.7, 0.95),
    "skin": (30.0, 0.3, 0.97),
    "plastic": (34.0, 0.4, 0.97),
    "concrete_wall": (21.0, 0.35, 0.97),
    "brick": (14.0, 0.35, 0.97),
    "facade": (30.0, 0.4, 0.96),
    "window": (7.0, 0.9, 0.50),
    "bark": (15.0, 0.4, 0.95),
    "leaf": (17.0, 0.6, 0.92),
    "dirt": (12.0, 0.4, 0.95),
}
MATERIAL_CODE = {name: code for code, name in enumerate(MATERIALS)}
MATERIAL_INTENSITY = np.array([value[0] for value in MATERIALS.values()], dtype=np.float32)
MATERIAL_SPREAD = np.array([value[1] for value in MATERIALS.values()], dtype=np.float32)
MATERIAL_RETURN = np.array([value[2] for value in MATERIALS.values()], dtype=np.float32)

#: Vehicles count as moving, and pedestrians as walking, above this speed [m/s].
MOVING_SPEED = 0.3
