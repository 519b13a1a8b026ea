"""Running models: the only package that imports onnxruntime."""

from onnxprune.runtime.quantize import LEAST_OPSET, PER_CHANNEL_OPSET, opset, quantize_int8
from onnxprune.runtime.session import Chunk, Feeds, Optimization, Session, open_session

__all__ = [
    "LEAST_OPSET",
    "PER_CHANNEL_OPSET",
    "Chunk",
    "Feeds",
    "Optimization",
    "Session",
    "open_session",
    "opset",
    "quantize_int8",
]
