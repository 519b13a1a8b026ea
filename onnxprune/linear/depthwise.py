"""Depthwise layers of any width at the speed of the widths that the runtime has fast kernels for.

The fast kernels take blocks of channels. A depthwise layer that was cut to another width runs several times slower
than the wider layer was; here it runs on as many channels of zeros more as fill the last block.
"""

import numpy as np
import onnx

BLOCK = 16
"""Channels of the widest block of the runtime's kernels (AVX-512); others divide it."""

_OLDEST = 13
"""Version of the ops from which Pad and Slice are written alike."""


def fill_blocks(model: onnx.ModelProto) -> None:
    """Let depthwise layers with stored weights run on whole blocks of channels; results stay as they are."""
    if any(entry.domain == "" and entry.version < _OLDEST for entry in model.opset_import):
        return
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        missing = _missing(node, stored)
        nodes += _filled(model.graph, node, stored, missing) if missing else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _missing(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> int:
    """Return how many channels a depthwise layer lacks to a whole block; 0 for what has to run as it is."""
    if node.op_type != "Conv" or node.domain or any(name and name not in stored for name in node.input[1:]):
        return 0
    group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    weight = stored[node.input[1]]
    plain = group > 1 and list(weight.dims[:2]) == [group, 1] and len(weight.dims) == 4
    return -group % BLOCK if plain and weight.data_type == onnx.TensorProto.FLOAT else 0


def _filled(
    graph: onnx.GraphProto, node: onnx.NodeProto, stored: dict[str, onnx.TensorProto], missing: int
) -> list[onnx.NodeProto]:
    """Return the nodes that stand for a layer which lacks channels; constants that they read go into the graph."""
    output = node.output[0]
    wide = onnx.NodeProto()
    wide.CopyFrom(node)
    names = {part: f"{output} {part}" for part in ("pads", "padded", "weight", "bias", "wide", "start", "end", "axis")}
    width = stored[node.input[1]].dims[0]
    constants = {
        "pads": np.array([0] * 5 + [missing, 0, 0], dtype=np.int64),
        "start": np.array([0], dtype=np.int64),
        "end": np.array([width], dtype=np.int64),
        "axis": np.array([1], dtype=np.int64),
    }
    wide.input[0], wide.output[0] = names["padded"], names["wide"]
    for slot, part in enumerate(("weight", "bias")[: len(node.input) - 1], 1):
        if node.input[slot]:
            value = onnx.numpy_helper.to_array(stored[node.input[slot]])
            constants[part] = np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1))
            wide.input[slot] = names[part]
    for attribute in wide.attribute:
        if attribute.name == "group":
            attribute.i = width + missing
    graph.initializer.extend(onnx.numpy_helper.from_array(value, names[part]) for part, value in constants.items())
    sliced = [names["wide"], names["start"], names["end"], names["axis"]]
    return [
        onnx.helper.make_node("Pad", [node.input[0], names["pads"]], [names["padded"]]),
        wide,
        onnx.helper.make_node("Slice", sliced, [output]),
    ]
