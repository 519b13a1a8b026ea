"""A model as it was read: its file, its graph, and what the user should know of either."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import onnx

from onnxprune.errors import InputError
from onnxprune.graph.fused import unfused
from onnxprune.graph.inlining import inlined
from onnxprune.graph.model import Graph, read_graph
from onnxprune.graph.shapes.free_sizes import InputShapes
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.measures import digest, file_size
from onnxprune.graph.storage.metadata import forget_interface
from onnxprune.graph.storage.weights import Weights
from onnxprune.values.arrangement import Arrangement
from onnxprune.values.brief import brief
from onnxprune.values.interface import shape_text


@brief
@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model: where it came from, what was read of it, and what the user should know of that.

    `shapes` are those that free sizes of inputs were taken for, as they were given or as the data have them.
    Of a large model, or one with external data, `proto` holds no heavy weights: they stay in their files.
    `arrangement` says what was done to its channels, and `origin` is the model as it was before that.
    """

    path: Path
    proto: onnx.ModelProto
    graph: Graph
    notes: tuple[str, ...] = ()
    shapes: InputShapes = field(default_factory=dict)
    arrangement: Arrangement = field(default_factory=Arrangement)
    origin: "Model | None" = None

    @property
    def first(self) -> "Model":
        """The model as the file has it."""
        return self if self.origin is None else self.origin

    @cached_property
    def digest(self) -> str:
        """What tells this model's file from any other."""
        return digest(self.proto, self.weights) if self.origin is None else self.origin.digest

    @property
    def weights(self) -> Weights:
        """The values that `proto` refers to and does not hold."""
        return self.graph.weights

    @cached_property
    def size(self) -> int:
        """Bytes on disk, data files included."""
        return file_size(self.path, self.first.weights)


def load(path: Path | str, shapes: InputShapes | None = None, *, is_step: bool = False) -> Model:
    """Read a model and its graph. Calls of local functions, and layers fused by onnxruntime, are written out.

    Args:
        path: the .onnx file.
        shapes: of inputs whose sizes the file leaves free; costs are for these, see `with_shapes`.
        is_step: whether it is a cut that is fed as its original is; any other model is its own original.

    Raises:
        InputError: it cannot be read, or is not one that takes these shapes.
    """
    whole, weights = open_model(path)
    if not is_step:
        forget_interface(whole)
    flat, functions = inlined(whole)
    proto, fused = unfused(flat)
    notes: tuple[str, ...] = ()
    if functions:
        named = ", ".join(functions[:3]) + (" ..." if len(functions) > 3 else "")
        notes = (f"Calls of {len(functions)} local function(s) were written out as their nodes: {named}.",)
    if fused:
        what = "1 layer that onnxruntime had" if fused == 1 else f"{fused} layers that onnxruntime had"
        notes += (f"Written out: {what} fused with an activation, and fuses again when it loads the model.",)
    graph = read_graph(proto, weights)
    found = Model(Path(path), proto, graph, notes + tuple(_found_sizes(graph)))
    return with_shapes(found, shapes) if shapes else found


def with_shapes(model: Model, shapes: InputShapes) -> Model:
    """Return the model with free sizes of its inputs taken for those of `shapes`, input by input; the batch stays free.

    Raises:
        InputError: it has no such input, or one of another shape.
    """
    specs = {spec.name: spec.shape for spec in model.graph.input_specs}
    for name, shape in shapes.items():
        if name not in specs:
            raise InputError(f"The model has no input '{name}': its inputs are {', '.join(specs)}.", "unknown-name")
        own = specs[name]
        fits = len(own) == len(shape) and all(
            a is None or b is None or a == b or place == 0 for place, (a, b) in enumerate(zip(own, shape, strict=True))
        )
        if not fits:
            raise InputError(
                f"Input '{name}' takes {shape_text(own)}, not {shape_text(shape)}; give sizes for what is free alone.",
                "data-mismatch",
            )
    graph = read_graph(model.proto, model.weights, shapes)
    known = [note for note in model.notes if not note.startswith(_SIZES)]
    return replace(model, graph=graph, notes=(*known, *_found_sizes(graph, shapes)), shapes=dict(shapes))


_SIZES = "Free sizes that suit this model were searched for"


def _found_sizes(graph: Graph, given: InputShapes | None = None) -> Iterator[str]:
    """Say which sizes are not free although the file says so."""
    fixed = {name: shape for name, shape in graph.facts.fixed.items() if any(size is not None for size in shape[1:])}
    if fixed and not given:
        shapes = ", ".join(f"{name} of {shape_text(shape)}" for name, shape in fixed.items())
        yield f"{_SIZES}: {shapes}; give others with --input-shape."
