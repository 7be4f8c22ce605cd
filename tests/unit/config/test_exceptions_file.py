from __future__ import annotations

import shlex

import yaml

from lidar_mt.config import compose, instantiate
from lidar_mt.config.exceptions_file import override, with_exceptions, write_exceptions

RULES = [{"pattern": "heads.detection.*", "precision": "float"}, {"pattern": "encoder.input", "precision": "int16"}]
OWN = "quant.exceptions=[{pattern: neck.*, precision: int16}]"


def test_the_file_is_an_option_of_quant(tmp_path, programs):
    quant = compose("train", ["stage=calibrate", "quant=pow2", OWN]).quant
    path = write_exceptions(tmp_path, quant, RULES, {"encoder.input": "alone: SQNR 20.0 dB"}, "two of them")
    assert path == tmp_path / "quant/exceptions.yaml"
    assert "# alone: SQNR 20.0 dB" in path.read_text()
    done = programs("train", "stage=calibrate", "quant=exceptions", "--config-dir", str(tmp_path), "--cfg", "job")
    assert done.status == 0, done.err
    found = yaml.safe_load(done.out)["quant"]
    assert found == {**quant, "exceptions": [{"pattern": "neck.*", "precision": "int16"}, *RULES]}
    assert found["scales"] == "pow2"


def test_the_argument_says_the_same():
    quant = compose("train", ["stage=calibrate", OWN]).quant
    (argument,) = shlex.split(override(quant, RULES))
    found = compose("train", ["stage=calibrate", argument]).quant
    assert found == with_exceptions(quant, RULES)
    assert len(quant.exceptions) == 1, "the original is left alone"
    assert instantiate(found).exceptions.precision("heads.detection.shared").activation_bits == 32


def test_no_exceptions(tmp_path):
    quant = compose("train", ["stage=calibrate"]).quant
    path = write_exceptions(tmp_path, quant, [], {}, "none needed")
    assert yaml.safe_load(path.read_text())["exceptions"] == []
