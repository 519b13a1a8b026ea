"""A model whose inner tensors are looked at."""

from collections.abc import Iterable

import onnx

from onnxprune.graph.model import Graph
from onnxprune.runtime.session import Session, open_session

SAMPLES_PER_CALL = 8
"""Whole tensors leave the runtime, so a call takes few samples."""


def inner_session(graph: Graph, names: Iterable[str]) -> Session:
    """Return a session of which tensors `names` are the outputs; those that are inputs come with what is fed."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    fed = {value.name for value in model.graph.input}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in fed)
    chunk_size = open_session(graph.model, graph.weights, optimization="none", prepack=False).chunk_size
    session = open_session(model, graph.weights, name="the model with its inner tensors")
    session.chunk_size = chunk_size
    return session
