"""A file is a cut with other weights in it, and nothing else."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from onnxprune.errors import VerificationError
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.weights import clear_value, stored_tensors

ADVICE = "it was changed after it was written, or is of another plan"


@dataclass(frozen=True)
class SameCut:
    """How many tensors a file holds, and how many of them have other values than the cut."""

    tensors: int
    changed: int


def check_same_cut(cut: StoredModel, found: StoredModel, *, trained: bool) -> SameCut:
    """Check that `found` has the graph of `cut` and its integers, and numbers for weights.

    Metadata and names of data files are let be.

    Args:
        cut: what a plan makes of the original.
        found: what a file holds.
        trained: whether its floating-point weights may be others, as recovery and training give them.

    Raises:
        VerificationError: it is something else; the message names the first node or tensor.
    """
    ours, theirs = _bare(cut.proto), _bare(found.proto)
    if ours.SerializeToString(deterministic=True) != theirs.SerializeToString(deterministic=True):
        raise VerificationError(f"The model is not what its plan says: {_difference(ours, theirs)}.", "cut-differs")
    changed = tensors = 0
    for own, other in zip(stored_tensors(cut.proto), stored_tensors(found.proto), strict=True):
        tensors += 1
        expected, value = cut.weights.array(own), found.weights.array(other)
        if np.array_equal(expected, value, equal_nan=expected.dtype.kind in "fc"):
            continue
        changed += 1
        if not trained or expected.dtype.kind not in "fV":
            raise VerificationError(
                f"The model is not what its plan says: {other.name!r} has other values than the cut leaves; {ADVICE}. "
                "If it was trained since, say so with --trained.",
                "cut-differs",
            )
        if not np.isfinite(value.astype(np.float64)).all():
            raise VerificationError(f"The weights {other.name!r} hold values that are no numbers.", "recovery-failed")
    return SameCut(tensors, changed)


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without the values of tensors and without what is told of it."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    for tensor in stored_tensors(bare):
        clear_value(tensor)
    return bare


def _difference(ours: onnx.ModelProto, theirs: onnx.ModelProto) -> str:
    """Say where two models differ first."""
    for what, own, other in (
        ("nodes", ours.graph.node, theirs.graph.node),
        ("weights", ours.graph.initializer, theirs.graph.initializer),
        ("inputs", ours.graph.input, theirs.graph.input),
        ("outputs", ours.graph.output, theirs.graph.output),
    ):
        if len(own) != len(other):
            return f"it has {len(other)} {what} where the cut has {len(own)}; {ADVICE}"
        for one, two in zip(own, other, strict=True):
            if one != two:
                return f"among its {what}, {_name(two)} is not just {_name(one)} of the cut; {ADVICE}"
    return f"its recorded shapes, functions or versions are others; {ADVICE}"


def _name(part: Any) -> str:
    """Return what a node, weight, input or output is called, of a weight with its shape."""
    if isinstance(part, onnx.NodeProto):
        return repr(part.name or "".join(part.output[:1]))
    sizes = f" {list(part.dims)}" if isinstance(part, onnx.TensorProto) else ""
    return f"{part.name!r}{sizes}"
