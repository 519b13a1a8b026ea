"""The reference implementations that come with onnx: numpy, an op at a time. For small networks, as it is slow."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

Values = Mapping[str, NDArray[Any]]


def open_model(model: onnx.ModelProto) -> Callable[[Values], Values]:
    """Return what runs a model."""
    session = ReferenceEvaluator(model)

    def run(feeds: Values) -> Values:
        with np.errstate(all="ignore"):
            found = session.run(None, dict(feeds))
        return dict(zip(session.output_names, map(np.asarray, found), strict=True))

    return run
