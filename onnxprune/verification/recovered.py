"""A recovered model is the cut model with new weights and nothing else, and it runs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.errors import VerificationError
from onnxprune.graph.checking import check_structure
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights, clear_value, named_tensors
from onnxprune.runtime.session import open_session


def check_recovered(
    cut: onnx.ModelProto,
    recovered: onnx.ModelProto,
    solved: Mapping[str, onnx.TensorProto],
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    *,
    cut_weights: Weights = NO_WEIGHTS,
    weights: Weights = NO_WEIGHTS,
) -> None:
    """Check that `recovered` is `cut` with the values that were solved for, is valid, and computes numbers.

    Args:
        cut: the cut model.
        recovered: the same, as it is read back from its file.
        solved: new values by tensor.
        feeds: calls of the model.
        cut_weights: what the cut model refers to.
        weights: what the recovered one refers to.

    Raises:
        VerificationError: it does not.
    """
    if _stripped(cut, cut_weights, solved) != _stripped(recovered, weights, solved):
        raise VerificationError(
            "Recovery changed more of the model than its weights; please report this model.", "recovery-failed"
        )
    values = named_tensors(recovered.graph)
    for name, tensor in sorted(solved.items()):
        found = weights.array(values[name])
        if not np.array_equal(found, onnx.numpy_helper.to_array(tensor), equal_nan=True):
            raise VerificationError(
                f"The values of {name!r} are not those that recovery solved for; please report this model.",
                "recovery-failed",
            )
        if not np.isfinite(found).all():
            raise VerificationError(
                f"Recovery gave {name!r} values that are no numbers; use --recover none.", "recovery-failed"
            )
    check_structure(recovered, cut, weights=weights, original_weights=cut_weights)
    session = open_session(recovered, weights, name="the recovered model", prepack=False)
    reference = open_session(cut, cut_weights, name="the cut model", prepack=False)
    for call in feeds:
        if not all_finite(session.run(call).values()) and all_finite(reference.run(call).values()):
            raise VerificationError(
                "The recovered model computes values that are no numbers; use --recover none.", "recovery-failed"
            )


def _stripped(model: onnx.ModelProto, weights: Weights, changed: Iterable[str]) -> bytes:
    """Return a model with its weights inside, but without the values of `changed`."""
    bare = StoredModel(model, weights).inside()
    tensors = named_tensors(bare.graph)
    for name in changed:
        clear_value(tensors[name])
    return bare.SerializeToString(deterministic=True)


def all_finite(values: Iterable[NDArray[Any]]) -> bool:
    """Whether all floating-point numbers of some arrays are numbers."""
    return all(np.isfinite(value).all() for value in values if value.dtype.kind == "f")
