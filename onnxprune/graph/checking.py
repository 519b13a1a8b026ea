"""Is a model valid ONNX, and do its shapes fit together?"""

import onnx

from onnxprune.errors import VerificationError
from onnxprune.graph.light import light_copy


def check_structure(model: onnx.ModelProto) -> None:
    """Run onnx's full checker and strict shape inference, with the heavy weights detached.

    Raises:
        VerificationError: the model is invalid; the message is onnx's reason.
    """
    light = light_copy(model)
    try:
        onnx.checker.check_model(light, full_check=True)
        onnx.shape_inference.infer_shapes(light, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise VerificationError(f"The model is not valid ONNX: {' '.join(str(error).split())[:300]}") from None
