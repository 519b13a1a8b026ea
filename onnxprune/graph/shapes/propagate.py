"""One walk over the nodes that finds the shape of every tensor and the values known before the model runs.

Every symbolic input dimension is given a number, and then another one. A dimension that comes out the same both times
is fixed; one that differs depends on the batch or another free size, even where it is a product (batch x heads) that
plain inference cannot name. Shapes come from onnx's own per-op inference, fed with the values folded so far, so that a
Reshape whose target is computed from Shape nodes is understood as well.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, TypeProto

from onnxprune.graph.constants.folding import Known, fold, is_foldable, known_shape, known_size, may_grow
from onnxprune.graph.shapes.float_nodes import as_floats, as_result, equivalent_float_node
from onnxprune.graph.shapes.free_sizes import (
    OTHER,
    InputShapes,
    Trials,
    candidates,
    free_sizes,
    given_sizes,
    is_free,
    search,
)
from onnxprune.graph.shapes.input_hints import ShapeHint, input_shape_hints
from onnxprune.graph.shapes.microsoft import shaped_by
from onnxprune.graph.storage.subgraphs import subgraphs

Shape = tuple[int, ...]

# Values larger than this are not handed to shape inference: no op's shape depends on that many numbers.
_MAX_SHAPE_DATA = 1024

# What computed constants may take in bytes: so much in any case, and so many times what the file's own constants take
# (half-precision or 8-bit weights that are cast to floats).
_ROOM, _ROOM_SHARE = 1 << 28, 4

# Ops for which onnx has no inference of their own, whose result is as large as the first input.
_LIKE_FIRST_INPUT = ("GroupNormalization", "MeanVarianceNormalization", "Scaler", "Normalizer", "Imputer")


@dataclass(frozen=True)
class Facts:
    """What is known of a graph's tensors by name. Trial one has batch 1 and serves as the nominal shape for costs.

    `conflicts` are results of nodes that the sizes contradict; `fixed` the shapes of inputs whose free sizes had to be
    taken as fixed.
    """

    types: tuple[dict[str, TypeProto], dict[str, TypeProto]]
    shapes: tuple[dict[str, Shape], dict[str, Shape]]
    known: dict[str, Known]
    conflicts: set[str] = field(default_factory=set)
    fixed: Mapping[str, Sequence[int | None]] = field(default_factory=dict)

    def shape_pair(self, name: str) -> tuple[Shape, Shape] | None:
        """Return the shapes of a tensor in both trials, or None where they could not be inferred."""
        first, second = self.shapes[0].get(name), self.shapes[1].get(name)
        return None if first is None or second is None or len(first) != len(second) else (first, second)

    def is_fixed(self, name: str, axis: int) -> bool:
        """Whether the size of an axis is known to depend on no free size."""
        pair = self.shape_pair(name)
        return pair is not None and pair[0][axis] == pair[1][axis]


def propagate(
    model: onnx.ModelProto,
    attributes: Sequence[Mapping[str, Any]],
    constants: Mapping[str, np.ndarray],
    sizes: InputShapes | None = None,
) -> Facts:
    """Walk `model` in node order; `attributes` holds each node's attributes, `constants` the initializers' values.

    Some exports declare a free size that the graph then contradicts (a Split of the batch into one part, a height that
    is pooled to 1). Where a batch of 2 leaves shapes unknown that a batch of 1 gives, the batch is taken as fixed.
    Other sizes are those of `sizes`; where none are given and the graph takes none of the usual ones, they are searched
    for.
    """

    def walked(trials: Trials) -> Facts:
        facts = _walk(model, attributes, constants, trials)
        if not _batch_is_fixed(facts):
            return facts
        single = _walk(model, attributes, constants, replace(trials, batch=(1, 1)))
        return facts if _batch_is_fixed(single) else single

    given = given_sizes(model, constants, sizes or {})
    # twice the size is divided by whatever divides it, as networks that halve their maps ask for
    trials = Trials(given={symbol: (size, 2 * size) for symbol, size in given.items()})
    facts = walked(trials)
    symbols = list(dict.fromkeys(symbol for symbol, _, axis in free_sizes(model, constants) if axis))
    if not facts.conflicts or not symbols:
        return facts
    tried = () if given else candidates(model, constants)
    faults = partial(_faults, walked)
    found = search(trials, trials.fixed(given), symbols, tried, faults, len(attributes))
    better = walked(found)
    if len(better.conflicts) >= len(facts.conflicts):
        return facts
    return replace(better, fixed=_fixed_shapes(model, constants, found, better))


def _faults(walked: Callable[[Trials], Facts], trials: Trials) -> int:
    return len(walked(trials).conflicts)


def _batch_is_fixed(facts: Facts) -> bool:
    return bool(facts.shapes[0].keys() - facts.shapes[1].keys())


def _fixed_shapes(
    model: onnx.ModelProto, constants: Mapping[str, np.ndarray], trials: Trials, facts: Facts
) -> Mapping[str, Sequence[int | None]]:
    """Return the shapes of the inputs with free sizes that were taken as fixed, the others being None."""
    found: dict[str, list[int | None]] = {}
    for symbol, name, axis in free_sizes(model, constants):
        first, second = trials.given.get(symbol, (0, 1))
        shape = found.setdefault(name, list(facts.shapes[0][name]))
        shape[axis] = first if first == second else None
    return {name: tuple(shape) for name, shape in found.items()}


def _walk(
    model: onnx.ModelProto,
    attributes: Sequence[Mapping[str, Any]],
    constants: Mapping[str, np.ndarray],
    trials: Trials,
) -> Facts:
    """Walk once, with these sizes in the two trials."""
    facts = Facts(({}, {}), ({}, {}), {})
    recorded = [_declare_inputs(facts, model, constants, trial, trials) for trial in (0, 1)]
    for name, value in constants.items():
        _record_known(facts, name, Known(value, value))
    room = _Room(_ROOM + _ROOM_SHARE * sum(value.nbytes for value in constants.values()))
    for node, attrs in zip(model.graph.node, attributes, strict=True):
        _visit(facts, node, attrs, model, room)
        _fall_back(facts, node, recorded)
    return facts


@dataclass
class _Room:
    """How many bytes of constants may still be computed, so that a small file takes no large memory."""

    left: float

    def take(self, values: Iterable[Known]) -> None:
        """Count what is no view of something that is counted already."""
        self.left -= sum(value.first.nbytes for value in values if value.first.base is None)


def _declare_inputs(
    facts: Facts, model: onnx.ModelProto, constants: Mapping[str, np.ndarray], trial: int, trials: Trials
) -> dict[str, TypeProto]:
    """Fix the free sizes of the inputs; return the recorded types of other tensors with the same sizes filled in."""
    named: dict[str, int] = {}
    hints = input_shape_hints(model, constants)
    for value in model.graph.input:
        kind = TypeProto()
        kind.CopyFrom(value.type)
        _apply_hint(kind, hints.get(value.name, {}))
        for axis, dim in enumerate(kind.tensor_type.shape.dim):
            if is_free(dim):
                size = trials.size(dim.dim_param or (value.name, axis), axis, trial)
                dim.dim_value = named.setdefault(dim.dim_param, size) if dim.dim_param else size
        _record(facts, trial, value.name, kind)
    for sparse in model.graph.sparse_initializer:
        dense = onnx.helper.make_tensor_type_proto(sparse.values.data_type, sparse.dims)
        _record(facts, trial, sparse.values.name, dense)
    recorded = {}
    for value in (*model.graph.value_info, *model.graph.output):
        kind = TypeProto()
        kind.CopyFrom(value.type)
        for dim in kind.tensor_type.shape.dim:
            if dim.dim_param in named:
                dim.dim_value = named[dim.dim_param]
            elif is_free(dim):
                dim.ClearField("dim_value")
        recorded[value.name] = kind
    return recorded


def _apply_hint(kind: TypeProto, hint: ShapeHint) -> None:
    """Fill in what the first layers want of an input whose file does not say it: the rank, the channels."""
    tensor = kind.tensor_type
    rank = hint.get(None)
    if not tensor.HasField("shape") and rank is not None:
        tensor.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in range(rank))
    for axis, size in hint.items():
        if axis is not None and -len(tensor.shape.dim) <= axis < len(tensor.shape.dim):
            dim = tensor.shape.dim[axis]
            if is_free(dim):
                dim.dim_value = size


def _fall_back(facts: Facts, node: onnx.NodeProto, recorded: Sequence[Mapping[str, TypeProto]]) -> None:
    """Complete the shapes that inference left open by what the file records.

    Whatever size is still open depends on the data (how many boxes were found) and is free like one of an input.
    """
    for name in node.output:
        missing = [trial for trial in (0, 1) if name not in facts.shapes[trial]]
        for trial in missing:
            kinds = [types[name] for types in (facts.types[trial], recorded[trial]) if name in types]
            kinds = [kind for kind in kinds if kind.tensor_type.HasField("shape")]
            complete = bool(kinds) and all(dim.HasField("dim_value") for dim in kinds[-1].tensor_type.shape.dim)
            # What only one of the trials leaves open contradicts itself: see `propagate`.
            if complete or (kinds and len(missing) > 1):
                _record(facts, trial, name, _completed(kinds, OTHER[trial]))


def _completed(kinds: Sequence[TypeProto], free: int) -> TypeProto:
    """Return the first type with each open size taken from the others of the same rank, or else `free`."""
    result = TypeProto()
    result.CopyFrom(kinds[0])
    dims = result.tensor_type.shape.dim
    others = [kind.tensor_type.shape.dim for kind in kinds[1:] if len(kind.tensor_type.shape.dim) == len(dims)]
    for axis, dim in enumerate(dims):
        if not dim.HasField("dim_value"):
            dim.dim_value = next((other[axis].dim_value for other in others if other[axis].HasField("dim_value")), free)
    return result


def _record(facts: Facts, trial: int, name: str, kind: TypeProto) -> None:
    facts.types[trial][name] = kind
    tensor = kind.tensor_type
    if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        facts.shapes[trial][name] = tuple(dim.dim_value for dim in tensor.shape.dim)


def _record_known(facts: Facts, name: str, known: Known) -> None:
    """File a known value with its type in both trials."""
    facts.known[name] = known
    for trial, value in ((0, known.first), (1, known.second)):
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        _record(facts, trial, name, onnx.helper.make_tensor_type_proto(kind, value.shape))


def _visit(facts: Facts, node: onnx.NodeProto, attrs: Mapping[str, Any], model: onnx.ModelProto, room: _Room) -> None:
    known = _folded(facts, node, attrs, model, room)
    for name, value in known.items():
        _record_known(facts, name, value)
    if known:
        return
    made: Mapping[str, TypeProto] = {}
    for trial in (0, 1):
        if trial == 0 or _has_subgraph(node) or not _same_inputs(facts, node):
            made = _made(facts, node, trial, model)
        for output, kind in made.items():
            _record(facts, trial, output, kind)
        if node.op_type == "Reshape" and not _holds_as_many(facts, node, trial):
            facts.conflicts.add(node.output[0])


def _holds_as_many(facts: Facts, node: onnx.NodeProto, trial: int) -> bool:
    """Whether the result of a Reshape has as many elements as its input, which inference does not ask."""
    before, after = (facts.shapes[trial].get(name) for name in (node.input[0], node.output[0]))
    return before is None or after is None or math.prod(before) == math.prod(after)


def _has_subgraph(node: onnx.NodeProto) -> bool:
    return any(attribute.HasField("g") for attribute in node.attribute)


def _made(facts: Facts, node: onnx.NodeProto, trial: int, model: onnx.ModelProto) -> Mapping[str, TypeProto]:
    """Return the types of what a node makes in one trial, where it has a float equivalent by that one's rules."""
    types = {name: facts.types[trial][name] for name in node.input if name in facts.types[trial]}
    of_runtime = shaped_by(node, types)
    if of_runtime:
        return of_runtime
    versions, node = _versions(model), _standard(node)
    float_node = equivalent_float_node(node, versions.get("", 1))
    asked = float_node or node
    try:
        schema = onnx.defs.get_schema(asked.op_type, versions.get(asked.domain, 1), asked.domain)
    except onnx.defs.SchemaError:
        return {}
    if _has_subgraph(node):
        return _infer_control_flow(facts, node, trial, model)
    if node.op_type in _LIKE_FIRST_INPUT and node.input[0] in types:
        return {node.output[0]: _like(types[node.input[0]])}
    if not _window_fits(asked, types):
        facts.conflicts.add(node.output[0])
    if float_node is None:
        return _infer(facts, node, schema, types, trial, model)
    return as_result(node, types, _infer(facts, float_node, schema, as_floats(types), trial, model))


def _window_fits(node: onnx.NodeProto, types: Mapping[str, TypeProto]) -> bool:
    """Whether the window of a pool or convolution is no larger than the padded map, which inference does not ask."""
    attrs = {attribute.name: list(attribute.ints) for attribute in node.attribute if attribute.ints}
    kernel, data = attrs.get("kernel_shape"), types.get(node.input[0]) if node.input else None
    padded = any(attribute.name == "auto_pad" and attribute.s not in (b"", b"NOTSET") for attribute in node.attribute)
    if node.op_type == "ConvTranspose" or kernel is None or data is None or padded:
        return True
    sizes = [dim.dim_value for dim in data.tensor_type.shape.dim][-len(kernel) :]
    pads = attrs.get("pads", [0] * 2 * len(kernel))
    around = [before + after for before, after in zip(pads[: len(kernel)], pads[len(kernel) :], strict=True)]
    dilations = attrs.get("dilations", [1] * len(kernel))
    return all(
        size + pad > (taps - 1) * step for size, pad, taps, step in zip(sizes, around, kernel, dilations, strict=False)
    )


def _like(kind: TypeProto) -> TypeProto:
    """Return the type of a result that is as large as its input; of whole numbers these ops make floats."""
    result = TypeProto()
    result.CopyFrom(kind)
    if result.tensor_type.elem_type in (TensorProto.INT32, TensorProto.INT64, TensorProto.DOUBLE):
        result.tensor_type.elem_type = TensorProto.FLOAT
    return result


def _imports(model: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    return [onnx.helper.make_opsetid(domain, version) for domain, version in _versions(model).items()]


def _standard(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return a node whose domain is written out, as few exporters do, as inference knows it."""
    if node.domain != "ai.onnx":
        return node
    copy = onnx.NodeProto.FromString(node.SerializeToString())
    copy.domain = ""
    return copy


def _versions(model: onnx.ModelProto) -> dict[str, int]:
    return {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import}


def _folded(
    facts: Facts, node: onnx.NodeProto, attrs: Mapping[str, Any], model: onnx.ModelProto, room: _Room
) -> Mapping[str, Known]:
    """Return by name what a node computes of known values; nothing where that is left to the runtime."""
    if node.domain not in ("", "ai.onnx"):
        return {}
    if node.op_type == "Constant":
        value = constant_value(attrs)
        return {} if value is None else {node.output[0]: Known(value, value)}
    if node.op_type in ("Shape", "Size"):
        return _measured(facts, node, attrs)
    inputs = [facts.known.get(name) if name else None for name in node.input]
    read = inputs[:1] if node.op_type == "CastLike" else inputs  # of its second input only the type matters
    if not read or any(name and known is None for name, known in zip(node.input, read, strict=False)):
        return {}
    if not is_foldable(node.op_type) or _has_subgraph(node):
        return {}
    if node.op_type == "CastLike":
        if node.input[1] not in facts.types[0]:
            return {}
        kind = facts.types[0][node.input[1]].tensor_type.elem_type
        node = onnx.helper.make_node("Cast", node.input[:1], node.output, to=kind)
    grows = may_grow(node.op_type, read)
    elements = _elements(facts, node, model) if grows else None
    if room.left <= 0 and grows and (elements is None or elements > _MAX_SHAPE_DATA):
        return {}
    values = fold(node, _versions(model).get("", 1), read, elements) or ()
    room.take(values)
    return dict(zip((name for name in node.output if name), values, strict=bool(values)))


def _measured(facts: Facts, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> Mapping[str, Known]:
    """Return what a Shape or Size node says."""
    measured, result = node.input[0], node.output[0]
    known, pair = facts.known.get(measured), facts.shape_pair(measured)
    if pair is None:
        return {}
    if known is not None:
        dims = np.asarray(known.first.shape, dtype=np.int64)[attrs.get("start", 0) : attrs.get("end")]
        value = dims if node.op_type == "Shape" else np.asarray(known.first.size, dtype=np.int64)
        return {result: Known(value, value)}
    return {result: known_shape(measured, *pair, attrs) if node.op_type == "Shape" else known_size(measured, *pair)}


def _elements(facts: Facts, node: onnx.NodeProto, model: onnx.ModelProto) -> int | None:
    """Return how many numbers a node makes, where inference can tell."""
    try:
        schema = onnx.defs.get_schema(node.op_type, _versions(model).get("", 1), "")
    except onnx.defs.SchemaError:
        return None
    made = _infer(facts, node, schema, facts.types[0], 0, model)
    shapes = [kind.tensor_type.shape.dim for kind in made.values() if kind.tensor_type.HasField("shape")]
    if len(shapes) < len(node.output) or not all(dim.HasField("dim_value") for dims in shapes for dim in dims):
        return None
    return sum(math.prod(dim.dim_value for dim in dims) for dims in shapes)


def constant_value(attrs: Mapping[str, Any]) -> np.ndarray | None:
    """Return the value of a Constant node with these attributes, or None for strings and sparse tensors."""
    value = attrs.get("value")  # an array already where it lies outside the model
    if isinstance(value, np.ndarray | TensorProto):
        return value if isinstance(value, np.ndarray) else onnx.numpy_helper.to_array(value)
    for key, dtype in (("value_float", np.float32), ("value_floats", np.float32)):
        if key in attrs:
            return np.asarray(attrs[key], dtype=dtype)
    for key in ("value_int", "value_ints"):
        if key in attrs:
            return np.asarray(attrs[key], dtype=np.int64)
    return None


def _same_inputs(facts: Facts, node: onnx.NodeProto) -> bool:
    for name in node.input:
        known = facts.known.get(name)
        if facts.shapes[0].get(name) != facts.shapes[1].get(name):
            return False
        if known is not None and known.first is not known.second and not bool(np.all(known.fixed)):
            return False
    return True


def _infer(
    facts: Facts,
    node: onnx.NodeProto,
    schema: onnx.defs.OpSchema,
    types: Mapping[str, TypeProto],
    trial: int,
    model: onnx.ModelProto,
) -> Mapping[str, TypeProto]:
    types = {name: types[name] for name in node.input if name in types}
    data = {}
    for name in node.input:
        known = facts.known.get(name)
        if known is not None:
            value = known.first if trial == 0 else known.second
            if value.size <= _MAX_SHAPE_DATA:
                data[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
    try:
        inferred: Mapping[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=_imports(model), ir_version=model.ir_version
        )
    except onnx.shape_inference.InferenceError:
        facts.conflicts.add(node.output[0])
        return {}
    except (KeyError, onnx.checker.ValidationError, ValueError, RuntimeError):
        return {}
    return inferred


def _infer_control_flow(
    facts: Facts, node: onnx.NodeProto, trial: int, model: onnx.ModelProto
) -> Mapping[str, TypeProto]:
    """Infer what a node with subgraphs makes by a model of its own, with what the subgraphs read as inputs."""
    alone = onnx.ModelProto(ir_version=model.ir_version)
    alone.opset_import.extend(model.opset_import)
    alone.graph.name = "node"
    alone.graph.node.append(node)
    for name in dict.fromkeys((*node.input, *captured_names(node))):
        if name in facts.types[trial]:
            alone.graph.input.append(onnx.ValueInfoProto(name=name, type=facts.types[trial][name]))
    alone.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    try:
        inferred = onnx.shape_inference.infer_shapes(alone)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError, RuntimeError):
        return {}
    return {value.name: value.type for value in inferred.graph.output if value.HasField("type")}


def captured_names(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the outer values that the subgraphs of `node` read."""
    for graph in subgraphs(node):
        yield from _free_names(graph)


def _free_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the names that a subgraph reads before anything in it makes them."""
    bound = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        yield from (name for name in (*node.input, *captured_names(node)) if name and name not in bound)
        bound.update(node.output)
    yield from (value.name for value in graph.output if value.name not in bound)


def refold(
    model: onnx.ModelProto,
    attributes: Sequence[Mapping[str, Any]],
    facts: Facts,
    sizes: Mapping[str, Mapping[int, Fraction]],
) -> dict[str, Known]:
    """Compute anew the values that follow from sizes, were the axes in `sizes` (tensor -> axis -> share) that narrow.

    Values from constants alone stay as they are. Returns every known value by name.
    """
    known = {name: value for name, value in facts.known.items() if value.sources is None}
    shapes = tuple(_resized(shapes, sizes) for shapes in facts.shapes)
    changed = Facts(facts.types, (shapes[0], shapes[1]), known)
    room = _Room(_ROOM)
    for node, attrs in zip(model.graph.node, attributes, strict=True):
        if any(name in facts.known and name not in known for name in node.output):
            known.update(_folded(changed, node, attrs, model, room))
    return known


def _resized(shapes: Mapping[str, Shape], sizes: Mapping[str, Mapping[int, Fraction]]) -> dict[str, Shape]:
    changed = {
        name: tuple(int(size * axes.get(axis, 1)) for axis, size in enumerate(shapes[name]))
        for name, axes in sizes.items()
    }
    return {**shapes, **changed}
