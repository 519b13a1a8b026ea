"""What onnxruntime raises. It numbers its classes, and numbers of system errors (13: no permission) pass for theirs."""

from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

FAILURES: tuple[type[Exception], ...] = (
    *(found for found in vars(ort_errors).values() if isinstance(found, type) and issubclass(found, Exception)),
    RuntimeError,
    ValueError,
)
