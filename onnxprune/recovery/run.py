"""Recovering a cut, step by step, whatever files the weights lie in."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.data import Dataset
from onnxprune.errors import InputError
from onnxprune.graph.layers.quantized import layout
from onnxprune.graph.model import Graph, read_graph
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.weights import is_external, mark_changed, named_tensors
from onnxprune.linear.held import Calls, Held
from onnxprune.recovery.products import Mixed, mixed_targets
from onnxprune.recovery.recovery import MEMORY, Recovery, RecoveryTask, steps
from onnxprune.recovery.samples import SampleCalls, sample_calls
from onnxprune.runtime.session import open_session
from onnxprune.surgery.cut import Cut
from onnxprune.values.axes import Axis, BoolArray
from onnxprune.values.progress import Track, silent

HEAVIEST = 1 << 28
"""Most bytes of weights in files that are taken into memory, several times over, to be solved for."""


@dataclass(frozen=True, eq=False)
class RecoveryStep:
    """One step of a recovery.

    Attributes:
        name: of the recovery.
        start: the cut that it gives new weights to.
        values: the new ones by tensor, of this step and those before.
        solved: how many layers were given new weights.
        skipped: by output of the layer, why it was left as it is.
        before: the error that it began with, see `error`.
        error: of the outputs on the samples that judge, as a share of their squares.
        history: where it was trained, steps and the error after them.
    """

    name: str
    start: Cut
    values: Mapping[str, onnx.TensorProto]
    solved: int
    skipped: Mapping[str, str]
    before: float
    error: float
    history: tuple[tuple[int, float], ...] = ()

    @cached_property
    def cut(self) -> Cut:
        """The cut with the weights that it has now."""
        return with_values(self.start, self.values)

    @property
    def dropped(self) -> bool:
        """Whether the outputs were nearer to the original's before it, so that nothing goes on from it."""
        return not self.error <= self.before


def obstacle(graph: Graph) -> str | None:
    """Return why nothing can be recovered in a model, or None."""
    if any(layout(node.domain, node.op, node.inputs) is not None for node in graph.nodes):
        return "the model is quantized, and integer weights have no room for a fit"
    if sum(file.size for file in graph.weights.files.values()) > HEAVIEST:
        return f"its weights take more than {HEAVIEST >> 20} MB and stay in their files"
    return None


def recover_steps(  # noqa: PLR0913 (every setting has its default)
    graph: Graph,
    cut: Cut,
    fit: Dataset,
    judge: Dataset,
    name: str,
    *,
    memory: int = MEMORY,
    seed: int = 0,
    track: Track = silent,
    classes: bool = False,
) -> Iterator[RecoveryStep]:
    """Run the steps of the recovery `name` on a cut of the model of `graph`.

    Args:
        graph: of the original.
        cut: what lost channels.
        fit: the samples that weights are fitted to.
        judge: others, which choose ridges and whether a step is kept.
        name: of the recovery.
        memory: bytes of tensors between layers that are kept in memory.
        seed: of the sampled positions.
        track: receives progress.
        classes: whether an output of shape [N, C] is known to hold scores of classes.

    Raises:
        InputError: there is no such recovery, or the samples do not fit the model.
    """
    todo: tuple[Recovery, ...] = steps(name)
    calls = calls_of(graph, (fit, judge), memory)
    original, pruned = StoredModel(graph.model, graph.weights).inside(), StoredModel(cut.model, cut.weights).inside()
    first = named_tensors(pruned.graph)
    judged = Judge(original, calls, range(calls.counts[0], len(calls)), cut.masks, memory)
    error = judged.error(pruned)
    bypassed = frozenset(graph.nodes[node].outputs[0] for node, _ in cut.edits.dropped)
    mixed: Mapping[str, Mixed] = {}
    with suppress(InputError):  # of a model that the runtime cannot run in pieces
        mixed = mixed_targets(read_graph(original), cut.masks, calls, calls.counts[0])
    for recovery in todo:
        sizes = (len(fit), calls.counts[1], seed, memory)
        found = recovery.run(RecoveryTask(original, pruned, cut.masks, calls, *sizes, bypassed, track, mixed, classes))
        before, now = error, judged.error(found.model)
        values = named_tensors(found.model.graph)
        changed = {key: tensor for key, tensor in values.items() if tensor.raw_data != first[key].raw_data}
        solved = len(found.solved)
        step = RecoveryStep(recovery.name, cut, changed, solved, found.skipped, before, now, found.history)
        yield step
        if not step.dropped:
            pruned, error = found.model, now


def calls_of(graph: Graph, parts: Sequence[Dataset], memory: int) -> SampleCalls:
    """Return the calls of a model over data sets, of the size that it takes."""
    session = open_session(graph.model, graph.weights, optimization="none", prepack=False)
    return sample_calls(graph, session.chunk_size, parts, memory)


def error_of(graph: Graph, cut: Cut, judge: Dataset, *, memory: int = MEMORY) -> float:
    """Return how far the outputs of a cut are from those of the model of `graph`, on samples, see `Judge.error`."""
    calls = calls_of(graph, (judge,), memory)
    original, pruned = StoredModel(graph.model, graph.weights).inside(), StoredModel(cut.model, cut.weights).inside()
    return Judge(original, calls, range(len(calls)), cut.masks, memory).error(pruned)


class Judge:
    """How far a model's outputs are from the original's, on samples that nothing was fitted to."""

    def __init__(
        self,
        original: onnx.ModelProto,
        calls: Calls,
        numbers: range,
        masks: Mapping[Axis, BoolArray],
        memory: int,
    ) -> None:
        """Run the original once on the calls `numbers`; answers beyond `memory` bytes go to scratch files."""
        self._calls, self._numbers = calls, numbers
        self._truth = Held(memory)
        for number, found in self._outputs(original):
            self._truth[number] = found
        self._kept = {axis.ref.name: (axis.dim, mask) for axis, mask in masks.items() if not axis.ref.is_use}

    def error(self, model: onnx.ModelProto) -> float:
        """Return the mean over the outputs of the squared error as a share of the squared truth; inf: not a number.

        Of integer outputs it is the share of the elements that differ.
        """
        wrong: dict[str, float] = {}
        right: dict[str, float] = {}
        for number, found in self._outputs(model):
            for name, value in self._truth[number].items():
                dim, mask = self._kept.get(name, (0, None))
                wanted = value if mask is None else np.compress(mask, value, dim)
                if found[name].shape == wanted.shape and wanted.dtype.kind != "f":
                    wrong[name] = wrong.get(name, 0.0) + float(np.count_nonzero(found[name] != wanted))
                    right[name] = right.get(name, 0.0) + wanted.size
                elif found[name].shape == wanted.shape and np.isfinite(wanted).any():
                    finite = np.isfinite(wanted)
                    wrong[name] = wrong.get(name, 0.0) + float(np.square(found[name][finite] - wanted[finite]).sum())
                    right[name] = right.get(name, 0.0) + float(np.square(wanted[finite]).sum())
        error = float(np.mean([wrong[name] / max(right[name], 1e-30) for name in wrong])) if wrong else 0.0
        return error if np.isfinite(error) else np.inf

    def _outputs(self, model: onnx.ModelProto) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        session = open_session(model, name="the model to recover")
        for number in self._numbers:
            found = session.run(self._calls[number])
            yield (
                number,
                {
                    name: value.astype(np.float64) if value.dtype.kind == "f" else value
                    for name, value in found.items()
                    if value.dtype.kind in "fiub"
                },
            )


def with_values(cut: Cut, tensors: Mapping[str, onnx.TensorProto]) -> Cut:
    """Return the same cut with new values of `tensors`, kept where the old ones lie."""
    model = onnx.ModelProto()
    model.CopyFrom(cut.model)
    stored = named_tensors(model.graph)
    moved: dict[str, NDArray[Any]] = {}
    for name, new in tensors.items():
        if is_external(stored[name]):
            key = f"recovered {name}"
            mark_changed(stored[name], key)
            moved[key] = onnx.numpy_helper.to_array(new)
        else:
            stored[name].CopyFrom(new)
    return replace(cut, model=model, weights=cut.weights.with_changed(moved))
