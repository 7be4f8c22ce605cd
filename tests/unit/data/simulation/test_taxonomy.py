from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.color_map import get_colormap

from lidar_mt.data.simulation import taxonomy
from lidar_mt.structures.classes import DETECTION_CLASSES, LIDARSEG_DRIVEABLE


def test_lidarseg_names_are_the_devkits_in_its_order():
    assert list(get_colormap()) == list(taxonomy.LIDARSEG_NAMES)


def test_names_used_elsewhere_have_the_official_indices():
    assert taxonomy.LIDARSEG_INDEX["flat.driveable_surface"] == LIDARSEG_DRIVEABLE
    assert taxonomy.SURFACE_LABEL[taxonomy.SURFACE_CODE["marking"]] == LIDARSEG_DRIVEABLE
    assert (taxonomy.NOISE, taxonomy.EGO, taxonomy.VEGETATION, taxonomy.MANMADE) == (0, 31, 30, 28)


def test_the_ten_classes_have_a_category():
    assert {category_to_detection_name(name) for name in taxonomy.LIDARSEG_NAMES} >= set(DETECTION_CLASSES)
