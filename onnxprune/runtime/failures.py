"""What onnxruntime raises. Where the system refuses it something, the class is whatever has the system's number."""

from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

FAILURES: tuple[type[Exception], ...] = (
    *(found for found in vars(ort_errors).values() if isinstance(found, type) and issubclass(found, Exception)),
    RuntimeError,
    ValueError,
)
