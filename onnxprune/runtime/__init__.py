"""Running models: the only package that imports onnxruntime."""

from onnxprune.runtime.latency import Latency, measure
from onnxprune.runtime.session import Chunk, Feeds, Optimization, Session, open_session

__all__ = ["Chunk", "Feeds", "Latency", "Optimization", "Session", "measure", "open_session"]
