"""Append reductions to a copy of the model and make only their results outputs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.graph.model import Graph


@dataclass
class Probe:
    """Nodes and constants to append, gathered by the builders of `probes`. Private names cannot clash."""

    graph: Graph
    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]
    outputs: list[str]
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    @property
    def opset(self) -> int:
        """The version of the default domain."""
        return max(entry.version for entry in self.graph.model.opset_import if entry.domain in ("", "ai.onnx"))

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append a node and return its output."""
        output = f"onnxprune_probe/{len(self.nodes)}_{op}"
        self.nodes.append(onnx.helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def add_two(self, op: str, inputs: Sequence[str], **attributes: Any) -> tuple[str, str]:
        """Append a node with two results and return both."""
        first = self.add(op, inputs, **attributes)
        second = f"{first}_second"
        self.nodes[-1].output.append(second)
        return first, second

    def constant(self, value: NDArray[np.generic]) -> str:
        """Add a constant and return its name."""
        name = f"onnxprune_probe/constant_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def reduce(self, op: str, tensor: str, axes: Sequence[int]) -> str:
        """Append a reduction that drops `axes`, whose place (attribute or input) depends on the opset."""
        if not axes:
            return tensor
        as_input = self.opset >= (13 if op == "ReduceSum" else 18)
        if as_input:
            return self.add(op, [tensor, self.constant(np.asarray(axes, dtype=np.int64))], keepdims=0)
        return self.add(op, [tensor], axes=list(axes), keepdims=0)

    def every(self, tensor: str, axes: Sequence[int], steps: Sequence[int]) -> str:
        """Append a Slice that keeps every so many positions along `axes`, from the first on; opset 10 or newer."""
        ends = [np.iinfo(np.int64).max] * len(axes)
        numbers = ([0] * len(axes), ends, axes, steps)
        return self.add("Slice", [tensor, *(self.constant(np.asarray(value, dtype=np.int64)) for value in numbers)])

    def output(self, tensor: str) -> str:
        """Make `tensor` an output of the instrumented model."""
        self.outputs.append(tensor)
        return tensor


def start(graph: Graph) -> Probe:
    """Return an empty set of probes for `graph`."""
    return Probe(graph, [], [], [])


def instrumented(probe: Probe) -> onnx.ModelProto:
    """Return a copy of the model with the probes appended; its only outputs are the probes'."""
    result = onnx.ModelProto()
    result.CopyFrom(probe.graph.model)
    result.graph.node.extend(probe.nodes)
    result.graph.initializer.extend(probe.constants)
    result.graph.input.extend(probe.inputs)
    if result.ir_version < 4:
        result.ir_version = 4  # older files have to list every initializer as an input; this copy is never kept
    del result.graph.output[:]
    result.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(probe.outputs))
    return result
