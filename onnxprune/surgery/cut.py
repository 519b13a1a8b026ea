"""Remove channels from a model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx

from onnxprune.analysis.analysis import Analysis
from onnxprune.errors import InputError
from onnxprune.graph.storage.metadata import INTERFACE, interface_of, interface_text
from onnxprune.graph.storage.staging import with_metadata
from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights
from onnxprune.surgery.edits import Edits, plan_edits
from onnxprune.surgery.leave_out import leave_out
from onnxprune.surgery.rewrite import edited
from onnxprune.values.axes import Axis, BoolArray
from onnxprune.values.branches import Branch, emptied, left_out
from onnxprune.values.brief import brief
from onnxprune.values.interface import Interface, Narrowed


@brief
@dataclass(frozen=True, eq=False)
class Cut:
    """A cut model, the weights that it refers to, what was changed to get it, and the branches that were left out."""

    model: onnx.ModelProto
    edits: Edits
    keep: Mapping[str, BoolArray]
    masks: Mapping[Axis, BoolArray]
    weights: Weights = NO_WEIGHTS
    branches: tuple[Branch, ...] = ()

    def stored(self, model: onnx.ModelProto, weights: Weights) -> "Cut":
        """Return the same cut with its model as it was read back from a file; new values are no longer held."""
        return replace(self, model=model, weights=weights, edits=replace(self.edits, tensors={}, added={}))


def cut(analysis: Analysis, keep: Mapping[str, BoolArray]) -> Cut:
    """Remove the channels whose entry in `keep` (group name -> mask, True = kept) is False.

    Branches none of whose channels is kept are left out as a whole. The model that `analysis` was made from stays as
    it is.

    Raises:
        InputError: a group would lose all channels, and is no branch that can be left out.
    """
    refuse_empty(analysis, keep)
    masks, branches = analysis.axis_masks(keep), left_out(analysis.branches, keep)
    edits = leave_out(analysis.graph, plan_edits(analysis, masks), branches)
    model, weights = edited(analysis.graph, edits)
    interface = _interface(analysis, masks)
    if interface:
        with_metadata(model, {INTERFACE: interface_text(interface)})
    return Cut(model, edits, keep, masks, weights, branches)


def _interface(analysis: Analysis, masks: Mapping[Axis, BoolArray]) -> Interface:
    """Return what is left of the inputs and outputs, of their widths before any cut; the head goes by its classes."""
    graph = analysis.graph
    left = {name: {each.axis: each for each in axes} for name, axes in interface_of(graph.model).items()}
    for axis, mask in masks.items():
        name, dim = axis.ref.name, axis.dim
        if axis.ref.is_use or axis == analysis.head or name not in (*graph.inputs, *graph.outputs):
            continue
        before = left.setdefault(name, {}).get(dim, Narrowed(dim, len(mask), tuple(range(len(mask)))))
        kept = tuple(place for place, stays in zip(before.kept, mask, strict=True) if stays)
        left[name][dim] = replace(before, kept=kept)
    return {name: tuple(axes.values()) for name, axes in left.items()}


def refuse_empty(analysis: Analysis, keep: Mapping[str, BoolArray]) -> None:
    """Refuse to leave a group without channels where that leaves no network.

    Raises:
        InputError: it is no branch that can be left out, or a sum or Concat would have no operand left.
    """
    for misfit in analysis.misfits_of(emptied(keep)):
        raise InputError(f"This cannot be cut: {misfit}; `onnxprune inspect` lists the branches.", "bad-value")
