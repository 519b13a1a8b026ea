"""A model as it was read: its file, its graph, and what the user should know of either."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx

from onnxprune.graph.fused import unfused
from onnxprune.graph.inlining import inlined
from onnxprune.graph.model import Graph, read_graph
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.measures import digest, file_size
from onnxprune.graph.storage.weights import Weights


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model: where it came from, what was read of it, and what the user should know of that.

    Of a large model, or one with external data, `proto` holds no heavy weights: they stay in their files.
    """

    path: Path
    proto: onnx.ModelProto
    graph: Graph
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """What tells this model from any other."""
        return digest(self.proto, self.weights)

    @property
    def weights(self) -> Weights:
        """The values that `proto` refers to and does not hold."""
        return self.graph.weights

    @cached_property
    def size(self) -> int:
        """Bytes on disk, data files included."""
        return file_size(self.path, self.weights)


def load(path: Path | str) -> Model:
    """Read a model and its graph. Calls of local functions, and layers fused by onnxruntime, are written out.

    Raises:
        InputError: it cannot be read.
    """
    whole, weights = open_model(path)
    flat, functions = inlined(whole)
    proto, fused = unfused(flat)
    notes: tuple[str, ...] = ()
    if functions:
        named = ", ".join(functions[:3]) + (" ..." if len(functions) > 3 else "")
        notes = (f"Calls of {len(functions)} local function(s) were written out as their nodes: {named}.",)
    if fused:
        what = "1 layer that onnxruntime had" if fused == 1 else f"{fused} layers that onnxruntime had"
        notes += (f"Written out: {what} fused with an activation, and fuses again when it loads the model.",)
    return Model(Path(path), proto, read_graph(proto, weights), notes)
