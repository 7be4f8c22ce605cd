import numpy as np
import pytest

from lidar_mt.data.simulation import shapes, traffic
from lidar_mt.data.simulation.town import draw_street


def drivers(rng, count=12, gap=12.0):
    out, front = [], 0.0
    for _ in range(count):
        body = shapes.car(rng)
        out.append(traffic.Driver(((body, 0.0),), "traffic", front, rng.uniform(5, 12)))
        front -= body.length + gap
    return out


@pytest.mark.parametrize("seed", range(4))
def test_nobody_runs_into_the_one_ahead_or_drives_backwards(seed):
    rng = np.random.default_rng(seed)
    queue = drivers(rng)
    lane = traffic.Lane((0.0, 0.0), 0.0, ((60.0, ((3.0, 14.0),)),))
    positions = traffic.drive_lane(lane, queue, 400)
    lengths = np.array([driver.nose + driver.tail for driver in queue])
    gaps = positions[:-1] - positions[1:] - (lengths[:-1] + lengths[1:])[:, None] / 2
    assert gaps.min() > 0.3
    assert np.diff(positions, axis=1).min() >= 0


def test_red_holds_the_queue_and_green_lets_it_go():
    rng = np.random.default_rng(0)
    queue = drivers(rng)
    lane = traffic.Lane((0.0, 0.0), 0.0, ((100.0, ((-100.0, 12.0),)),))
    positions = traffic.drive_lane(lane, queue, 500)
    front = positions[0] + queue[0].nose
    at_green = round(12 / traffic.STEP_S)
    assert 96 < front[at_green - 1] < 100.5
    assert front[-1] > 115


def test_speed_settles_at_the_wish_on_an_empty_road():
    lane = traffic.Lane((0.0, 0.0), 0.0, ())
    positions = traffic.drive_lane(lane, drivers(np.random.default_rng(0), count=1), 400)
    wish = drivers(np.random.default_rng(0), count=1)[0].desired
    assert (positions[0, -1] - positions[0, -21]) == pytest.approx(wish, rel=0.02)


@pytest.mark.parametrize("side", [-1, 1])
def test_lanes_keep_to_their_side(side):
    street = next(s for s in (draw_street(100, np.random.default_rng(i)) for i in range(50)) if s.side == side)
    for direction in (-1, 1):
        heading = traffic.main_lane(street, [], 0, direction).heading
        v = street.lane_centre(0, direction)
        # To the right of the centre line, seen along the heading, for right-hand traffic.
        to_the_left = np.cos(heading) * v
        assert np.sign(to_the_left) == side


def test_cross_traffic_has_green_only_while_the_main_road_has_red():
    street = draw_street(100, np.random.default_rng(0))
    light = traffic.Light(street.crossings[1], 4.0, 18.0)
    ((_, reds),) = traffic.cross_lane(street, light, 1).stops
    for now in np.arange(-5, 30, 0.5):
        cross_green = not any(begin <= now < end for begin, end in reds)
        assert not cross_green or light.red_from < now < light.red_until
