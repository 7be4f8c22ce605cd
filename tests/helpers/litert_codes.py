"""Every tensor of an integer graph as LiteRT computes its TFLite file."""

from __future__ import annotations

import numpy as np

from lidar_mt.deploy.runtimes.litert import open_interpreter
from lidar_mt.deploy.signature import TensorSpec
from lidar_mt.deploy.tflite_writer import write_tflite
from lidar_mt.deploy.unsigned import signed_graph
from lidar_mt.quantization.integer_graph import IntegerGraph


def run(graph: IntegerGraph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name of the step -> centred codes, or real results, NCHW; `inputs` are features and coords."""
    given = [TensorSpec(name, value.dtype.name, value.shape) for name, value in inputs.items()]
    data = write_tflite(graph, given, [TensorSpec(name, "float32", (1,)) for name in graph.outputs], all_codes=True)
    interpreter = open_interpreter(data, threads=1)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], inputs[detail["name"]])
    interpreter.invoke()
    codes = signed_graph(graph).codes_of()
    found = {}
    for detail in interpreter.get_output_details():
        name, values = detail["name"], interpreter.get_tensor(detail["index"]).transpose(0, 3, 1, 2)
        found[name] = values.astype(np.int64) - codes[name].form.zero_point if name in codes else values
    return found
