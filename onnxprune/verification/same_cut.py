"""A file is a cut with other weights in it, and nothing else."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.errors import VerificationError
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.subgraphs import subgraphs, with_inner
from onnxprune.graph.storage.weights import clear_value, named_tensors, stored_tensors, tensors_of

ADVICE = "it was changed after it was written, or is of another plan"

FLOATS = frozenset((
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
))  # fmt: skip

LAYERS = frozenset(
    "Attention BatchNormalization Conv ConvTranspose Einsum EmbedLayerNormalization FusedConv FusedGemm FusedMatMul GRU"
    " Gather Gemm GroupNorm GroupNormalization InstanceNormalization LSTM LayerNormalization MatMul MultiHeadAttention"
    " PRelu RNN RMSNormalization SimplifiedLayerNormalization SkipLayerNormalization"
    " SkipSimplifiedLayerNormalization".split()
)
"""Ops whose constants of floating point are weights."""

ELEMENTWISE = frozenset("Add BiasGelu BiasSplitGelu Div FastGelu Mul Sub".split())
"""Ops whose constants are weights where they are more than one number."""

PASSING = frozenset("Cast Concat Expand Flatten Identity Reshape Slice Split Squeeze Transpose Unsqueeze".split())
"""Ops that weights may go through on the way."""


@dataclass(frozen=True)
class SameCut:
    """How many tensors a file holds, and how many of them have other values than the cut."""

    tensors: int
    changed: int


def check_same_cut(cut: StoredModel, found: StoredModel, *, trained: bool) -> SameCut:
    """Check that `found` has the graph and the constants of `cut`, and numbers for weights.

    Metadata, recorded shapes, descriptions and names of data files are let be.

    Args:
        cut: what a plan makes of the original.
        found: what a file holds.
        trained: whether the values of weights may be others, as recovery and training give them.

    Raises:
        VerificationError: it is something else; the message names the first node or tensor.
    """
    ours, theirs = _bare(cut.proto), _bare(found.proto)
    if ours.SerializeToString(deterministic=True) != theirs.SerializeToString(deterministic=True):
        raise VerificationError(f"The model is not what its plan says: {_difference(ours, theirs)}.", "cut-differs")
    free = weights_of(cut.proto.graph) if trained else frozenset[str]()
    changed = tensors = 0
    for (name, own), (_, other) in zip(_constants(cut.proto), _constants(found.proto), strict=True):
        tensors += 1
        expected, value = cut.weights.array(own), found.weights.array(other)
        if _same(expected, value):
            continue
        changed += 1
        if name not in free or own.data_type not in FLOATS:
            hint = "" if trained else " If it was trained since, say so with --trained."
            raise VerificationError(
                f"The model is not what its plan says: {name or own.name!r} has other values than the cut leaves; "
                f"{ADVICE}.{hint}",
                "cut-differs",
            )
        if not np.isfinite(value.astype(np.float64)).all():
            raise VerificationError(f"The weights {name!r} hold values that are no numbers.", "recovery-failed")
    return SameCut(tensors, changed)


def weights_of(graph: onnx.GraphProto) -> frozenset[str]:
    """Return the constants that are weights of layers: what recovery and training may give other values.

    Bounds, scales of sizes, thresholds, single numbers, and what a subgraph reads are none.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    bodies = [body for node in graph.node for body in subgraphs(node)]
    inner = {name for body in bodies for node in with_inner(body.node) for name in node.input}
    elsewhere = inner | {value.name for value in graph.output}

    def ends_in_layers(name: str, size: int) -> bool:
        reading = readers.get(name, [])
        return bool(reading) and name not in elsewhere and all(takes(node, size) for node in reading)

    def takes(node: onnx.NodeProto, size: int) -> bool:
        if node.op_type in PASSING:
            return all(ends_in_layers(name, size) for name in node.output if name)
        return node.op_type in LAYERS or (node.op_type in ELEMENTWISE and size > 1)

    sizes = {name: math.prod(tensor.dims) for name, tensor in named_tensors(graph).items()}
    return frozenset(name for name, size in sizes.items() if ends_in_layers(name, size))


def _constants(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield all stored tensors, those that nodes of the graph read by name under that name, the others under none."""
    for tensor in model.graph.initializer:
        yield tensor.name, tensor
    for sparse in model.graph.sparse_initializer:
        yield from (("", sparse.values), ("", sparse.indices))
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        name = node.output[0] if node.op_type == "Constant" else ""
        yield from ((name, tensor) for tensor in tensors_of(node))


def _same(expected: NDArray[Any], value: NDArray[Any]) -> bool:
    """Whether two arrays hold the same bits."""
    if expected.dtype.kind == "O":
        return np.array_equal(expected, value)
    return expected.shape == value.shape and expected.tobytes() == value.tobytes()


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without the values of tensors and without what is told of it."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    for name in ("doc_string", "producer_name", "producer_version"):
        bare.ClearField(name)
    for tensor in stored_tensors(bare):
        clear_value(tensor)
        tensor.ClearField("doc_string")
    for graph in _graphs(bare.graph):
        graph.ClearField("value_info")
        graph.ClearField("doc_string")
        for node in graph.node:
            node.ClearField("doc_string")
    return bare


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and all that its nodes run."""
    yield graph
    for node in graph.node:
        for body in subgraphs(node):
            yield from _graphs(body)


def _difference(ours: onnx.ModelProto, theirs: onnx.ModelProto) -> str:
    """Say where two models differ first."""
    parts: Iterable[tuple[str, Any, Any]] = (
        ("nodes", ours.graph.node, theirs.graph.node),
        ("weights", ours.graph.initializer, theirs.graph.initializer),
        ("inputs", ours.graph.input, theirs.graph.input),
        ("outputs", ours.graph.output, theirs.graph.output),
    )
    for what, own, other in parts:
        if len(own) != len(other):
            return f"it has {len(other)} {what} where the cut has {len(own)}; {ADVICE}"
        for one, two in zip(own, other, strict=True):
            if one != two:
                return f"among its {what}, {_name(two)} is not just {_name(one)} of the cut; {ADVICE}"
    return f"its functions or versions are others; {ADVICE}"


def _name(part: Any) -> str:
    """Return what a node, weight, input or output is called, of a weight with its shape."""
    if isinstance(part, onnx.NodeProto):
        return repr(part.name or "".join(part.output[:1]))
    sizes = f" {list(part.dims)}" if isinstance(part, onnx.TensorProto) else ""
    return f"{part.name!r}{sizes}"
