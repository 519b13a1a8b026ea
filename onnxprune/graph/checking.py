"""Is a model valid ONNX, and do its shapes fit together?

Files that onnxruntime runs well are not always what onnx's checker accepts: an op deprecated in its opset, an input
without a shape, a recorded shape that was wrong all along. What the checker says of the user's own file is not the
cut's fault, so only complaints that the original does not raise count.
"""

import re
from collections.abc import Callable, Iterator

import onnx

from onnxprune.errors import VerificationError
from onnxprune.graph.storage.detached import without_heavy_initializers
from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights

_COMPLAINTS = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError)


def check_structure(
    model: onnx.ModelProto,
    original: onnx.ModelProto | None = None,
    *,
    weights: Weights = NO_WEIGHTS,
    original_weights: Weights = NO_WEIGHTS,
) -> None:
    """Run onnx's full checker and strict shape inference, with the heavy weights detached.

    Args:
        model: what is checked.
        original: the model that it was made from, whose own complaints are no news.
        weights: what `model` refers to.
        original_weights: what `original` refers to.

    Raises:
        VerificationError: the model is invalid; the message is onnx's reason.
    """
    found = list(_complaints(model, weights))
    known: set[str] = set()
    if found and original is not None:
        known = {_shape_free(complaint) for complaint in _complaints(original, original_weights)}
    for complaint in found:
        if _shape_free(complaint) not in known:
            raise VerificationError(f"The model is not valid ONNX: {complaint[:300]}", "invalid-model")


def _complaints(model: onnx.ModelProto, weights: Weights) -> Iterator[str]:
    """Yield what onnx finds wrong.

    The checker stops at the first fault, so after one every node is checked by itself as well.
    """
    light = without_heavy_initializers(model, weights)
    first = _complaint(lambda: onnx.checker.check_model(light))
    if first:
        yield first
        context = onnx.checker.C.CheckerContext()
        context.ir_version = light.ir_version
        context.opset_imports = {entry.domain: entry.version for entry in light.opset_import}
        for node in light.graph.node:
            fault = _complaint(lambda node=node: onnx.checker.check_node(node, context))  # type: ignore[misc]
            if fault:
                yield f"{node.op_type} that makes {', '.join(node.output)}: {fault}"
    misfit = _complaint(
        lambda: onnx.shape_inference.infer_shapes(light, check_type=True, strict_mode=True, data_prop=True)
    )
    if misfit:
        yield misfit


def _complaint(check: Callable[[], object]) -> str:
    """Return the message of a failed check in one line, or nothing."""
    try:
        check()
    except _COMPLAINTS as error:
        return " ".join(str(error).split())
    return ""


def _shape_free(complaint: str) -> str:
    """Leave out the numbers of a complaint: sizes in it may differ after a cut."""
    return re.sub(r"\d+", "#", complaint)
