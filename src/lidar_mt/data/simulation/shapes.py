"""What the ten classes look like: sizes drawn like those of nuScenes and bodies made of a few primitives.

Every builder returns a `Body` whose frame has x forward, y left and its origin on the ground below the middle. The
bodies touch all six sides of their box, so that a box is as tight as one drawn by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidar_mt.data.simulation.primitives import Shape, block, ellipsoid, frustum

#: Slack of the annotated box around the body on every side but the ground [m]; range noise stays inside it.
BOX_MARGIN = 0.03

Rng = np.random.Generator


@dataclass(frozen=True)
class Body:
    """A body and its annotation.

    Attributes:
        category: nuScenes category name.
        width, length, height: size of the body [m]; length is along its heading.
        primitives: rows of `primitives`, in the body's frame.
    """

    category: str
    width: float
    length: float
    height: float
    primitives: Shape


def _draw(rng: Rng, mean: float, spread: float) -> float:
    """A normal draw, cut at two sigmas."""
    return float(mean + spread * np.clip(rng.standard_normal(), -2, 2))


def _paint(rng: Rng) -> str:
    return str(rng.choice(["paint_dark", "paint_grey", "paint_light"], p=[0.3, 0.35, 0.35]))


def _axle(x: float, width: float, diameter: float) -> Shape:
    """A pair of wheels as two thin blocks."""
    tyre = 0.24
    sides = (width / 2 - tyre / 2, -width / 2 + tyre / 2)
    span = (x - diameter / 2, x + diameter / 2)
    return [block(span, tyre, (0.0, diameter), "rubber", y=y, lean=(0.08, 0.08, 0.0)) for y in sides]


def car(rng: Rng) -> Body:
    """A saloon, hatchback, estate, SUV or van."""
    kind = rng.choice(["saloon", "hatch", "suv", "van"], p=[0.4, 0.25, 0.25, 0.1])
    length = {"saloon": 4.7, "hatch": 4.2, "suv": 4.75, "van": 5.1}[kind] + _draw(rng, 0, 0.15)
    width = {"saloon": 1.9, "hatch": 1.82, "suv": 1.98, "van": 2.05}[kind] + _draw(rng, 0, 0.05)
    height = {"saloon": 1.48, "hatch": 1.54, "suv": 1.78, "van": 2.05}[kind] + _draw(rng, 0, 0.05)
    paint, front, rear = _paint(rng), length / 2, -length / 2
    waist = {"saloon": 0.92, "hatch": 0.95, "suv": 1.08, "van": 1.15}[kind]
    tail = {"saloon": 0.85, "hatch": 0.12, "suv": 0.15, "van": 0.05}[kind]
    bonnet = {"saloon": 1.15, "hatch": 0.95, "suv": 1.1, "van": 0.5}[kind]
    rear_lean = {"saloon": 0.6, "hatch": 0.45, "suv": 0.35, "van": 0.1}[kind]
    rows = [block((rear, front), width, (0.22, waist), paint, lean=(0.12, 0.08, 0.05))]
    cabin = (rear + tail, front - bonnet)
    roof = height - 0.10
    rows.append(block(cabin, width - 0.10, (waist, roof), "glass", lean=(0.62, rear_lean, 0.16)))
    rows.append(
        block((cabin[0] + rear_lean, cabin[1] - 0.62), width - 0.4, (roof, height), paint, lean=(0.1, 0.1, 0.05))
    )
    rows += _axle(front - 0.85, width, 0.64) + _axle(rear + 0.8, width, 0.64)
    plate = (rear - 0.01, rear + 0.02)
    rows.append(block(plate, 0.45, (0.5, 0.62), "retro"))
    return Body("vehicle.car", width, length, height, rows)


def truck(rng: Rng) -> Body:
    """A box lorry, tipper or pick-up."""
    if rng.random() < 0.3:
        return _pickup(rng)
    length, width, height = _draw(rng, 7.4, 1.0), _draw(rng, 2.45, 0.08), _draw(rng, 3.1, 0.25)
    front, rear, paint = length / 2, -length / 2, _paint(rng)
    cab = min(height - 0.25, 2.6)
    rows = [block((front - 1.9, front), width - 0.08, (0.4, cab * 0.5), paint)]
    rows.append(block((front - 1.9, front), width - 0.08, (cab * 0.5, cab), "glass", lean=(0.3, 0.0, 0.08)))
    if rng.random() < 0.7:
        rows.append(block((rear, front - 2.05), width, (0.9, height), _paint(rng)))
    else:
        rows.append(block((rear, front - 2.05), width - 0.3, (0.9, height), "metal", lean=(-0.15, 0.1, -0.15)))
    rows.append(block((rear + 0.3, front - 0.5), 0.9, (0.5, 0.9), "metal"))
    rows += _axle(front - 1.2, width, 0.95) + _axle(rear + 1.5, width, 0.95)
    rows.append(block((rear - 0.01, rear + 0.03), width - 0.2, (0.9, 1.02), "retro"))
    return Body("vehicle.truck", width, length, height, rows)


def _pickup(rng: Rng) -> Body:
    length, width, height = _draw(rng, 5.6, 0.2), _draw(rng, 2.02, 0.06), _draw(rng, 1.9, 0.06)
    front, rear, paint = length / 2, -length / 2, _paint(rng)
    rows = [block((front - 1.5, front), width, (0.35, 1.12), paint, lean=(0.1, 0.0, 0.04))]
    rows.append(block((rear + 1.8, front - 1.3), width - 0.05, (0.35, 1.2), paint))
    rows.append(block((rear + 1.8, front - 1.2), width - 0.12, (1.15, height), "glass", lean=(0.6, 0.15, 0.15)))
    sides = (width / 2 - 0.06, -width / 2 + 0.06)
    rows += [block((rear, rear + 1.8), 0.12, (0.45, 1.12), paint, y=y) for y in sides]
    rows.append(block((rear, rear + 0.1), width, (0.45, 1.12), paint))
    rows.append(block((rear, rear + 1.8), width - 0.1, (0.45, 0.65), "metal"))
    rows += _axle(front - 1.0, width, 0.78) + _axle(rear + 1.1, width, 0.78)
    return Body("vehicle.truck", width, length, height, rows)


def bus(rng: Rng) -> Body:
    """A rigid city bus."""
    length, width, height = _draw(rng, 11.4, 0.7), _draw(rng, 2.75, 0.1), _draw(rng, 3.25, 0.15)
    front, rear, paint = length / 2, -length / 2, _paint(rng)
    rows = [block((rear, front), width, (0.32, 1.25), paint)]
    rows.append(block((rear, front), width, (1.25, height - 0.45), "window", lean=(0.08, 0.0, 0.06)))
    rows.append(block((rear, front - 0.05), width - 0.1, (height - 0.45, height), paint, lean=(0.1, 0.1, 0.1)))
    for x in np.linspace(rear + 0.3, front - 0.6, 6):
        rows.append(block((float(x) - 0.09, float(x) + 0.09), width - 0.01, (1.25, height - 0.4), paint))
    rows += _axle(front - 2.6, width, 0.98) + _axle(rear + 3.0, width, 0.98)
    return Body("vehicle.bus.rigid", width, length, height, rows)


def trailer(rng: Rng) -> Body:
    """A box or tanker trailer, or a small plant trailer."""
    small = rng.random() < 0.35
    length = _draw(rng, 6.5, 0.8) if small else _draw(rng, 11.5, 0.9)
    width, height = _draw(rng, 2.45, 0.1), _draw(rng, 2.6, 0.2) if small else _draw(rng, 3.8, 0.15)
    front, rear = length / 2, -length / 2
    floor = 0.95 if small else 1.15
    rows = [block((rear, front), width, (floor, height), str(rng.choice(["paint_light", "paint_grey", "metal"])))]
    rows += _axle(rear + 1.3, width, 0.98) + _axle(rear + 2.5, width, 0.98)
    rows.append(block((front - 1.7, front - 1.45), width * 0.6, (0.0, floor), "metal"))
    rows.append(block((rear + 0.2, front - 0.4), 0.8, (floor - 0.3, floor), "metal"))
    rows.append(block((rear - 0.01, rear + 0.03), width - 0.2, (floor, floor + 0.12), "retro"))
    return Body("vehicle.trailer", width, length, height, rows)


def construction_vehicle(rng: Rng) -> Body:
    """An excavator or a wheel loader."""
    length, width, height = _draw(rng, 6.6, 0.6), _draw(rng, 2.7, 0.15), _draw(rng, 3.15, 0.15)
    front, rear = length / 2, -length / 2
    if rng.random() < 0.5:  # excavator: tracks, house, cabin, boom, bucket
        rows = [
            block((rear + 0.2, rear + 3.8), 0.55, (0.0, 0.85), "rubber", y=s * (width / 2 - 0.275)) for s in (1, -1)
        ]
        rows.append(block((rear, rear + 3.3), width - 0.2, (0.95, 2.0), "plastic", lean=(0.1, 0.3, 0.05)))
        rows.append(block((rear + 1.6, rear + 3.2), 1.05, (2.0, height), "glass", y=0.6, lean=(0.25, 0.05, 0.05)))
        rows.append(
            block((rear + 3.0, front - 1.0), 0.42, (1.5, height - 0.2), "plastic", y=-0.3, lean=(1.0, -0.5, 0.0))
        )
        rows.append(block((front - 1.1, front - 0.65), 0.36, (0.5, height - 0.6), "plastic", y=-0.3))
        rows.append(block((front - 1.2, front), 1.1, (0.0, 0.9), "metal", y=-0.3, lean=(0.4, 0.0, 0.0)))
    else:  # wheel loader: rear engine, cabin, arms, wide bucket
        rows = [block((rear, rear + 2.4), width - 0.5, (0.7, 1.95), "plastic", lean=(0.0, 0.25, 0.1))]
        rows.append(block((rear + 2.0, rear + 3.6), 1.5, (1.2, height), "glass", lean=(0.2, 0.2, 0.15)))
        rows.append(block((rear + 2.4, front - 0.9), 0.8, (0.6, 1.4), "plastic", lean=(0.3, 0.0, 0.0)))
        rows.append(block((front - 1.1, front), width, (0.05, 1.15), "metal", lean=(0.5, 0.0, 0.0)))
        rows += _axle(rear + 1.1, width - 0.1, 1.4) + _axle(rear + 4.0, width - 0.1, 1.4)
    return Body("vehicle.construction", width, length, height, rows)


def barrier(rng: Rng) -> Body:
    """A concrete or plastic road barrier; as in nuScenes its heading points across it, its width along it."""
    length, width, height = _draw(rng, 0.5, 0.06), _draw(rng, 2.1, 0.25), _draw(rng, 1.0, 0.06)
    material = str(rng.choice(["concrete_wall", "plastic"]))
    foot = block((-length / 2, length / 2), width, (0.0, 0.3), material, lean=(0.08, 0.08, 0.0))
    wall = block((-length / 2 + 0.09, length / 2 - 0.09), width, (0.3, height), material, lean=(0.08, 0.08, 0.0))
    return Body("movable_object.barrier", width, length, height, [foot, wall])


def traffic_cone(rng: Rng) -> Body:
    """A traffic cone on its square foot."""
    size, height = _draw(rng, 0.42, 0.03), _draw(rng, 0.95, 0.12)
    rows = [block((-size / 2, size / 2), size, (0.0, 0.06), "rubber")]
    rows.append(frustum(0, 0, (0.05, height), (size * 0.4, 0.04), "plastic"))
    rows.append(frustum(0, 0, (height * 0.55, height * 0.75), (size * 0.23, size * 0.16), "retro"))
    return Body("movable_object.trafficcone", size, size, height, rows)


def bin_on_wheels(rng: Rng) -> Body:
    """A wheeled bin: an annotated object of no detection class."""
    size, height = _draw(rng, 0.7, 0.08), _draw(rng, 1.1, 0.06)
    return Body(
        "movable_object.pushable_pullable",
        size,
        size,
        height,
        [block((-size / 2, size / 2), size, (0.02, height), "paint_dark", lean=(-0.02, 0.1, 0.05))],
    )


def _person(x: float, foot: float, height: float, stride: float, width: float, length: float) -> Shape:
    """Legs, trunk with arms and head of somebody whose soles are at `foot` [m]."""
    scale = height / 1.75
    hip, neck = foot + 0.82 * scale, foot + 1.46 * scale
    depth = min(0.26, length)
    rows = []
    for side in (1, -1):
        ankle = x + side * stride / 2
        rows.append(block((ankle - 0.09, ankle + 0.09), 0.17, (foot, hip), "cloth", y=side * 0.1, lean=(0, 0, 0.02)))
    rows.append(block((x - depth / 2, x + depth / 2), width - 0.16, (hip, neck), "cloth", lean=(0.05, 0.05, 0.02)))
    for side in (1, -1):
        reach = x - side * stride * 0.45
        arm = (reach - 0.06, reach + 0.06)
        rows.append(block(arm, 0.1, (hip - 0.05, neck - 0.05), "cloth", y=side * (width / 2 - 0.05)))
    rows.append(ellipsoid((x, 0, (neck + foot + height) / 2), (0.11, 0.09, (foot + height - neck) / 2), "skin"))
    return rows


def pedestrian(rng: Rng, category: str = "human.pedestrian.adult", walking: bool = True) -> Body:
    """Somebody on foot.

    Args:
        rng: draws the size.
        category: a `human.pedestrian.*` name.
        walking: legs and arms are swung out when True.
    """
    child = category.endswith("child")
    height = _draw(rng, 1.25, 0.1) if child else _draw(rng, 1.74, 0.08)
    width = _draw(rng, 0.5, 0.03) if child else _draw(rng, 0.63, 0.05)
    length = (_draw(rng, 0.78, 0.08) if walking else _draw(rng, 0.5, 0.05)) * (0.75 if child else 1.0)
    stride = max(0.0, length - 0.18)
    return Body(category, width, length, height, _person(0.0, 0.0, height, stride, width, length))


def sitting_person(rng: Rng) -> Body:
    """Somebody on a bench."""
    width, length, height = _draw(rng, 0.6, 0.03), _draw(rng, 0.85, 0.04), _draw(rng, 1.3, 0.05)
    front, rear = length / 2, -length / 2
    rows = [block((rear, rear + 0.28), width, (0.42, height - 0.24), "cloth")]
    rows.append(block((rear + 0.2, front - 0.1), width - 0.2, (0.42, 0.6), "cloth"))
    rows.append(block((front - 0.25, front), width - 0.25, (0.0, 0.5), "cloth"))
    rows.append(ellipsoid((rear + 0.16, 0, height - 0.13), (0.11, 0.09, 0.13), "skin"))
    return Body("human.pedestrian.adult", width, length, height, rows)


def bicycle(rng: Rng, rider: bool) -> Body:
    """A bicycle, alone or ridden; the rider belongs to the box."""
    length, width = _draw(rng, 1.75, 0.06), _draw(rng, 0.6, 0.04)
    height = _draw(rng, 1.75, 0.06) if rider else _draw(rng, 1.08, 0.04)
    return Body("vehicle.bicycle", width, length, height, _two_wheeler(length, width, height, rider, 0.68, 0.06))


def motorcycle(rng: Rng, rider: bool) -> Body:
    """A motorcycle or scooter, alone or ridden."""
    length, width = _draw(rng, 2.1, 0.1), _draw(rng, 0.78, 0.05)
    height = _draw(rng, 1.68, 0.07) if rider else _draw(rng, 1.15, 0.05)
    return Body("vehicle.motorcycle", width, length, height, _two_wheeler(length, width, height, rider, 0.62, 0.24))


def _two_wheeler(length: float, width: float, height: float, rider: bool, wheel: float, thick: float) -> Shape:
    front, rear, bar = length / 2, -length / 2, 1.02 if rider else height
    rows = [
        block((rear, rear + wheel), max(thick * 0.6, 0.06), (0.0, wheel), "rubber", lean=(0.1, 0.1, 0)),
        block((front - wheel, front), max(thick * 0.6, 0.06), (0.0, wheel), "rubber", lean=(0.1, 0.1, 0)),
        block((rear + wheel * 0.6, front - wheel * 0.6), thick, (0.3, 0.72 + thick * 0.5), "metal"),
        block((front - 0.62, front - 0.5), width, (bar - 0.12, bar), "metal"),
        block((front - 0.6, front - 0.5), thick, (0.5, bar), "metal"),
        block((rear + 0.25, rear + 0.6), max(thick, 0.16), (0.72, 0.9), "rubber"),
    ]
    if rider:
        seat, shoulders = 0.85, height - 0.28
        rows.append(block((rear + 0.45, rear + 0.85), 0.42, (seat, shoulders), "cloth", lean=(-0.15, 0.2, 0.0)))
        rows += [block((rear + 0.6, rear + 1.0), 0.15, (0.3, 0.95), "cloth", y=s * 0.15) for s in (1, -1)]
        rows += [block((rear + 0.8, front - 0.55), 0.1, (1.0, 1.2), "cloth", y=s * (width / 2 - 0.08)) for s in (1, -1)]
        rows.append(ellipsoid((rear + 0.85, 0, height - 0.14), (0.14, 0.11, 0.14), "plastic"))
    return rows
