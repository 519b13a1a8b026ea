"""OpenVINO on the CPU, in full precision."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Values = Mapping[str, NDArray[Any]]


def open_model(model: onnx.ModelProto) -> Callable[[Values], Values]:
    """Return what runs a model.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    names = [output.name for output in model.graph.output]

    def run(feeds: Values) -> Values:
        found = compiled(dict(feeds))
        return {name: np.array(found[place]) for place, name in enumerate(names)}

    return run
