"""The frozen view of a model that the analysis reads: nodes, who makes and reads a tensor, shapes, known values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import onnx

from onnxprune.graph.constants.folding import RANDOM
from onnxprune.graph.layers.quantized import weight_slots
from onnxprune.graph.layers.weight_layout import WeightLayout, weight_layout
from onnxprune.graph.shapes.free_sizes import InputShapes, is_free
from onnxprune.graph.shapes.propagate import Facts, captured_names, propagate
from onnxprune.graph.storage.measures import FLOATS
from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights, is_external
from onnxprune.values.brief import brief
from onnxprune.values.interface import TensorSpec


@dataclass(frozen=True, eq=False)
class Node:
    """One node: `index` is its place in the file; `captured` are outer tensors that its subgraphs read.

    `has_subgraph` says whether it runs graphs of its own: If, Loop, Scan.
    """

    index: int
    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    version: int
    captured: tuple[str, ...] = ()
    has_subgraph: bool = False

    @cached_property
    def weight_layout(self) -> WeightLayout | None:
        """Which input is its weight and where channels lie, None where it is no op that multiplies by a weight."""
        return weight_layout(self.op, self.attrs, domain=self.domain, inputs=self.inputs)

    @property
    def kind(self) -> str:
        """The op type, after its domain where that is not the standard one."""
        return f"{self.domain}.{self.op}" if self.domain else self.op

    @property
    def title(self) -> str:
        """How messages name this node."""
        return f"{self.op} {self.name!r}" if self.name else f"{self.op} (node {self.index})"


def weight_layout_of(node: Node) -> WeightLayout:
    """Return where the weight and the channels of a node lie that is known to be a layer."""
    layout = node.weight_layout
    assert layout is not None
    return layout


_KEEPING_AXES = frozenset(("Add", "Cast", "Div", "Mul", "Sub", "Transpose"))
"""Ops by which every place of a constant follows from one place of others."""


class Part(NamedTuple):
    """A constant that another is made of: input `slot`, and which of its axes each axis of the result is."""

    slot: int
    name: str
    axes: tuple[int | None, ...]


@brief
@dataclass(frozen=True, eq=False)
class Graph:
    """A model, the weights that it refers to, and what is known of it. The model itself is never changed."""

    model: onnx.ModelProto
    nodes: tuple[Node, ...]
    initializers: Mapping[str, onnx.TensorProto]
    facts: Facts
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    producers: Mapping[str, Node] = field(repr=False)
    readers: Mapping[str, tuple[Node, ...]] = field(repr=False)
    weights: Weights = NO_WEIGHTS

    @cached_property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The inputs a caller has to feed."""
        return tuple(_spec(value, self.facts) for value in self.model.graph.input if value.name in self.inputs)

    @cached_property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The outputs of the graph."""
        return tuple(_spec(value, self.facts) for value in self.model.graph.output)

    def is_leaf(self, name: str) -> bool:
        """Whether `name` counts as a constant operand: its value is known before the model runs."""
        return name in self.facts.known

    @cached_property
    def constant_derived(self) -> frozenset[str]:
        """Tensors that follow from constants alone although their values are not known: dequantized weights."""
        found: set[str] = set()
        for node in self.nodes:
            names = [name for name in (*node.inputs, *node.captured) if name]
            constant = all(
                name in found or (name in self.facts.known and self.facts.known[name].is_constant) for name in names
            )
            if names and constant and node.op not in RANDOM:
                found.update(name for name in node.outputs if name and not self.is_leaf(name))
        return frozenset(found)

    def is_folded(self, node: Node) -> bool:
        """Whether all that `node` makes is known before the model runs: arithmetic on constants and sizes."""
        return node.index in self._folded

    @cached_property
    def _folded(self) -> frozenset[int]:
        return frozenset(n.index for n in self.nodes if all(self.is_leaf(name) for name in n.outputs if name))

    def maker(self, name: str) -> Node | None:
        """Return the node of a standard op that makes a tensor while the model runs; None where none does."""
        found = self.producers.get(name)
        return None if found is None or found.domain or self.is_folded(found) else found

    def axes_of(self, node: Node, slot: int) -> list[int] | None:
        """Return the axes that an op is given, as attribute or as input `slot`; None where they are not known."""
        if len(node.inputs) > slot and self.is_leaf(node.inputs[slot]):
            return [int(axis) for axis in self.facts.known[node.inputs[slot]].first.flat]
        return node.attrs.get("axes")

    def weight_slots(self, node: Node) -> tuple[int, ...]:
        """Return the inputs of `node` that are weights: constants that count as parameters, see `count_params`."""
        constants = [self.facts.known.get(name) for name in node.inputs]
        known = [constant is not None and constant.is_constant for constant in constants]
        floats = [
            constant is not None and onnx.helper.np_dtype_to_tensor_dtype(constant.first.dtype) in FLOATS
            for constant in constants
        ]
        return tuple(slot for slot in weight_slots(node.domain, node.op, node.inputs, floats) if known[slot])

    def is_read_once(self, name: str) -> bool:
        """Whether one node alone reads a tensor, at one input and in no subgraph."""
        readers = self.readers.get(name, ())
        return len(readers) == 1 and readers[0].inputs.count(name) == 1 and name not in readers[0].captured

    def root(self, name: str) -> str:
        """Follow Identity nodes from a constant back to the tensor that holds its value."""
        return self._roots.get(name, name)

    @cached_property
    def _roots(self) -> Mapping[str, str]:
        """The tensor behind every constant that an Identity hands on."""
        found: dict[str, str] = {}
        for node in self.nodes:
            if node.op == "Identity" and self.is_leaf(node.outputs[0]):
                found[node.outputs[0]] = found.get(node.inputs[0], node.inputs[0])
        return found

    def parts(self, name: str) -> tuple[Part, ...]:
        """Return the constants that a Cast, Transpose or arithmetic made the constant `name` of; () where nothing did.

        So half-precision weights are stored, and integers that are multiplied by scales.
        """
        node = self.producers.get(name)
        if node is None or node.domain or node.op not in _KEEPING_AXES or name not in self.facts.known:
            return ()
        constants = [self.facts.known.get(source) for source in node.inputs]
        if not all(known is not None and known.is_constant for known in constants):
            return ()
        rank = self.facts.known[name].first.ndim
        return tuple(
            Part(slot, source, _places(node, known.first.shape, self.facts.known[name].first.shape, rank))
            for slot, (source, known) in enumerate(zip(node.inputs, constants, strict=True))
            if known is not None
        )

    def stored(self, name: str) -> str:
        """Follow a constant back to the tensor that holds most of it, through Identity, Reshape and `parts`."""
        while True:
            name = self.root(name)
            maker = self.producers.get(name)
            if maker is not None and maker.kind == "Reshape" and self.is_leaf(maker.inputs[0]):
                name = maker.inputs[0]
                continue
            parts = self.parts(name)
            if not parts:
                return name
            name = max(parts, key=lambda part: self.facts.known[part.name].first.size).name


def _places(node: Node, shape: Sequence[int], made: Sequence[int], rank: int) -> tuple[int | None, ...]:
    """Return which axis of an operand of this shape each axis of the result is; None where it is broadcast."""
    if node.op == "Transpose":
        return tuple(node.attrs.get("perm", tuple(range(rank))[::-1]))
    shift = rank - len(shape)
    return tuple(axis - shift if axis >= shift and shape[axis - shift] == made[axis] else None for axis in range(rank))


def with_outputs(graph: Graph, names: Sequence[str]) -> Graph:
    """Return the graph with further tensors as outputs, behind its own."""
    if not names:
        return graph
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return read_graph(model, graph.weights)


def read_graph(model: onnx.ModelProto, weights: Weights = NO_WEIGHTS, sizes: InputShapes | None = None) -> Graph:
    """Build the view of `model`; values that it refers to are views of the mapped files of `weights`.

    `sizes` are the shapes of inputs that free sizes are taken for where they are not fixed by the model.
    """
    graph = model.graph
    versions = {entry.domain: entry.version for entry in model.opset_import}
    nodes = tuple(_node(index, node, versions, weights) for index, node in enumerate(graph.node))
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    constants = {name: weights.array(tensor) for name, tensor in initializers.items()}
    producers = {name: node for node in nodes for name in node.outputs if name}
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in dict.fromkeys((*node.inputs, *node.captured)):
            if name:
                readers.setdefault(name, []).append(node)
    return Graph(
        model=model,
        nodes=nodes,
        initializers=initializers,
        facts=propagate(model, [node.attrs for node in nodes], constants, sizes),
        inputs=tuple(value.name for value in graph.input if value.name not in initializers),
        outputs=tuple(value.name for value in graph.output),
        producers=producers,
        readers={name: tuple(found) for name, found in readers.items()},
        weights=weights,
    )


def _node(index: int, node: onnx.NodeProto, versions: Mapping[str, int], weights: Weights) -> Node:
    domain = "" if node.domain == "ai.onnx" else node.domain
    return Node(
        index=index,
        op=node.op_type,
        domain=domain,
        name=node.name,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attrs=_Attributes(node, weights),
        version=versions.get(node.domain, versions.get(domain, 1)),
        captured=tuple(dict.fromkeys(captured_names(node))),
        has_subgraph=any(attribute.HasField("g") for attribute in node.attribute),
    )


class _Attributes(Mapping[str, Any]):
    """The attributes of a node, each taken out of the file's message when it is asked for: some hold a forest."""

    def __init__(self, node: onnx.NodeProto, weights: Weights) -> None:
        self._node, self._weights = node, weights
        self._places = {attribute.name: place for place, attribute in enumerate(node.attribute)}
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = _attribute(self._node, self._node.attribute[self._places[name]], self._weights)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto, weights: Weights) -> Any:
    """Return the value of an attribute; a tensor that lies outside the model as an array (Constant), else taken in."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto) and is_external(value):
        return weights.array(value) if node.op_type == "Constant" else weights.embedded(value)
    return value


def _spec(value: onnx.ValueInfoProto, facts: Facts) -> TensorSpec:
    """Describe an input or output as the file does, or, where it records no shape, as the layers around it do."""
    tensor = value.type.tensor_type
    shape = tuple(None if is_free(dim) else dim.dim_value for dim in tensor.shape.dim)
    found = facts.shape_pair(value.name)
    if not tensor.HasField("shape") and found is not None:
        shape = tuple(first if first == second else None for first, second in zip(*found, strict=True))
    kind = tensor.elem_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).name if kind else "unknown"
    return TensorSpec(value.name, shape, dtype)
