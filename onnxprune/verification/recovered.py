"""A recovered model is the cut model with new weights and nothing else, and it runs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.errors import VerificationError
from onnxprune.graph.checking import check_structure
from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights, clear_value, is_external, named_tensors, stored_tensors
from onnxprune.runtime.session import open_session


def check_recovered(
    cut: onnx.ModelProto,
    recovered: onnx.ModelProto,
    changed: Collection[str],
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    *,
    cut_weights: Weights = NO_WEIGHTS,
    weights: Weights = NO_WEIGHTS,
) -> None:
    """Check that `recovered` is `cut` but for the values of the tensors `changed`, is valid, and computes numbers.

    Raises:
        VerificationError: it does not.
    """
    if _stripped(cut, cut_weights, changed) != _stripped(recovered, weights, changed):
        raise VerificationError(
            "Recovery changed more of the model than its weights; please report this model.", "recovery-failed"
        )
    values = named_tensors(recovered.graph)
    for name in sorted(changed):
        if not np.isfinite(weights.array(values[name])).all():
            raise VerificationError(
                f"Recovery gave {name!r} values that are no numbers; use --recover none.", "recovery-failed"
            )
    check_structure(recovered, cut, weights=weights, original_weights=cut_weights)
    session = open_session(recovered, weights, name="the recovered model", prepack=False)
    reference = open_session(cut, cut_weights, name="the cut model", prepack=False)
    for call in feeds:
        if not _all_finite(session.run(call).values()) and _all_finite(reference.run(call).values()):
            raise VerificationError(
                "The recovered model computes values that are no numbers; use --recover none.", "recovery-failed"
            )


def _stripped(model: onnx.ModelProto, weights: Weights, changed: Collection[str]) -> bytes:
    """Return a model with its weights inside, but without the values of `changed`."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for tensor in stored_tensors(bare):
        if is_external(tensor):
            tensor.CopyFrom(weights.embedded(tensor))
    tensors = named_tensors(bare.graph)
    for name in changed:
        clear_value(tensors[name])
    return bare.SerializeToString(deterministic=True)


def _all_finite(values: Iterable[NDArray[Any]]) -> bool:
    return all(np.isfinite(value).all() for value in values if value.dtype.kind == "f")
