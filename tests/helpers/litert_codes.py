"""Every tensor of an integer graph as LiteRT computes its TFLite file."""

from __future__ import annotations

import numpy as np

from lidar_mt.deploy.runtimes.litert import open_interpreter
from lidar_mt.deploy.signature import TensorSpec
from lidar_mt.deploy.tflite_writer import write_tflite
from lidar_mt.deploy.unsigned import signed_graph
from lidar_mt.quantization.integer_graph import IntegerGraph


def run(graph: IntegerGraph, inputs: dict[str, np.ndarray], **form: bool) -> dict[str, np.ndarray]:
    """Name of the step -> centred codes, or real results, NCHW.

    `inputs` are features and coords, or the canvas of stored int8 codes; `form` goes to `write_tflite`.
    """
    given = [TensorSpec(name, value.dtype.name, value.shape) for name, value in inputs.items()]
    outputs = [TensorSpec(name, "float32", (1,)) for name in graph.outputs]
    data = write_tflite(graph, given, outputs, all_codes=True, **form)
    interpreter = open_interpreter(data, threads=1)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], inputs[detail["name"]])
    interpreter.invoke()
    codes = signed_graph(graph).codes_of()
    found = {}
    for detail in interpreter.get_output_details():
        name, values = detail["name"], interpreter.get_tensor(detail["index"]).transpose(0, 3, 1, 2)
        # The board's copy of the canvas stands for it.
        step = name.removesuffix(":tiled")
        found[step] = values.astype(np.int64) - codes[step].form.zero_point if step in codes else values
    return found
