"""Runtimes that share nothing with onnxruntime: one file each, a line here, and a choice of `--oracle`."""

from collections.abc import Callable, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from onnxprune.errors import InputError
from onnxprune.runtime.oracles import openvino, reference

Values = Mapping[str, NDArray[Any]]
Run = Callable[[Values], Values]
"""Runs a model once: outputs by name, of inputs by name."""

ORACLES: Mapping[str, Callable[[onnx.ModelProto], Run]] = {
    "reference": reference.open_model,
    "openvino": openvino.open_model,
}
"""By name, what opens a model that has all its weights inside."""


def open_oracle(name: str, model: onnx.ModelProto, what: str) -> Run:
    """Open a model in another runtime.

    Args:
        name: of the runtime.
        model: with all its weights inside.
        what: it is, for messages.

    Returns:
        What runs it.

    Raises:
        InputError: the runtime is not installed, or cannot run the model; the latter when it is run, too.
    """

    def guarded(work: Callable[..., Any], *given: Any) -> Any:
        try:
            return work(*given)
        except ImportError as error:
            raise InputError(
                f"--oracle {name} needs a package that is not there ({error}); install it, or name another runtime.",
                "not-installed",
            ) from None
        except Exception as error:  # what other runtimes die of has no common name
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise InputError(
                f"--oracle {name} cannot run {what} ({reason}); name another runtime, or leave it out.", "not-runnable"
            ) from None

    run = guarded(ORACLES[name], model)
    return lambda feeds: guarded(run, feeds)
