import numpy as np
from nuscenes.utils.map_mask import MapMask

from lidar_mt.data.simulation.map_mask import draw_global_frame, render_mask
from lidar_mt.data.simulation.taxonomy import SURFACE_CODE
from lidar_mt.data.simulation.town import build_ground, draw_street


def test_devkit_reads_the_ground_back_from_the_mask(tmp_path):
    rng = np.random.default_rng(0)
    street = draw_street(80, rng)
    ground = build_ground(street, [("asphalt", 10, 40, street.frontage, street.frontage + 25)], rng)
    frame = draw_global_frame(ground, rng)
    render_mask(ground, frame).save(tmp_path / "map.png")
    u, v = rng.uniform(street.start + 2, street.end - 2, 4000), rng.uniform(-60, 60, 4000)
    town = np.stack([u, v + ground.bend_at(u)], axis=1)
    xy = frame.to_global(town)
    assert (xy > 0).all()
    assert (xy < frame.size).all()
    on_mask = MapMask(str(tmp_path / "map.png")).is_on_mask(xy[:, 0], xy[:, 1])
    open_to_all = [SURFACE_CODE[name] for name in ("asphalt", "marking", "concrete")]
    expected = np.isin(ground.surface.ravel()[ground.cells(u, v)], open_to_all)
    assert 0.2 < expected.mean() < 0.8
    # Two pixel grids at an angle differ on the edges only.
    sure = np.ones(len(u), dtype=bool)
    for du, dv in ((0.2, 0), (-0.2, 0), (0, 0.2), (0, -0.2)):
        sure &= np.isin(ground.surface.ravel()[ground.cells(u + du, v + dv)], open_to_all) == expected
    np.testing.assert_array_equal(on_mask[sure], expected[sure])
    assert sure.mean() > 0.9
