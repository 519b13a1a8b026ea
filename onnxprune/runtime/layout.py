"""How many channels onnxruntime's kernels keep together, read off the layout that it gives a convolution.

On x86 its CPU kernels work on blocks of 8 or 16 channels, as wide as the processor's vectors. Filters are filled up
with zeros to whole blocks when a model is loaded, which the model that it saves then shows. Depthwise layers of other
widths are not laid out so, and several times slower.
"""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime

from onnxprune.runtime.failures import FAILURES

_BLOCKED = "com.microsoft.nchwc"
_WIDTH = 33
"""Filters of the convolution that is laid out: one more than blocks of 8, 16 and 32 hold."""

_SIDE, _INPUTS = 8, 32


def layout_block() -> int | None:
    """Return how many channels a block of the CPU kernels has; None where they have no such layout.

    None too where it cannot be told, as on a disk that is full.
    """
    laid_out = onnx.GraphProto()
    with (
        suppress(OSError, *FAILURES),
        TemporaryDirectory(prefix="onnxprune-", ignore_cleanup_errors=True) as folder,
    ):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(Path(folder) / "laid_out.onnx")
        onnxruntime.InferenceSession(_convolution().SerializeToString(), options, providers=["CPUExecutionProvider"])
        laid_out = onnx.load(options.optimized_model_filepath).graph
    blocked = {name for node in laid_out.node if node.domain == _BLOCKED for name in node.input}
    filters = [tensor.dims[0] for tensor in laid_out.initializer if tensor.name in blocked and len(tensor.dims) == 4]
    filled = filters[0] - (_WIDTH - 1) if filters else 0
    return filled if filled > 1 else None


def _convolution() -> onnx.ModelProto:
    weight = onnx.numpy_helper.from_array(np.ones((_WIDTH, _INPUTS, 1, 1), dtype=np.float32), "w")
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, _SIDE, _SIDE])
        for name, channels in (("x", _INPUTS), ("y", _WIDTH))
    ]
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "layout", ends[:1], ends[1:], [weight])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
