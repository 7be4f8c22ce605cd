from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection import constants

from lidar_mt.metrics import detection_protocol as protocol
from lidar_mt.structures.classes import DETECTION_CLASSES


def test_rules_are_the_devkits():
    config = config_factory("detection_cvpr_2019")
    assert protocol.config_record() == config.serialize()
    assert list(protocol.DETECTION_NAMES) == list(config.class_names)  # the order in which it sums
    assert list(protocol.ATTRIBUTE_NAMES) == constants.ATTRIBUTE_NAMES
    assert list(protocol.ERROR_NAMES) == constants.TP_METRICS
    assert set(protocol.DETECTION_NAMES) == set(constants.DETECTION_NAMES) == set(DETECTION_CLASSES)
