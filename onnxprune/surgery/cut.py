"""Remove channels from a model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx

from onnxprune.analysis.analysis import Analysis
from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights
from onnxprune.surgery.edits import Edits, plan_edits
from onnxprune.surgery.rewrite import rewrite
from onnxprune.values.axes import Axis, BoolArray


@dataclass(frozen=True, eq=False)
class Cut:
    """A cut model, the weights that it refers to, and what was changed to get it."""

    model: onnx.ModelProto
    edits: Edits
    keep: Mapping[str, BoolArray]
    masks: Mapping[Axis, BoolArray]
    weights: Weights = NO_WEIGHTS

    def stored(self, model: onnx.ModelProto, weights: Weights) -> "Cut":
        """Return the same cut with its model as it was read back from a file; new values are no longer held."""
        return replace(self, model=model, weights=weights, edits=replace(self.edits, tensors={}, added={}))


def cut(analysis: Analysis, keep: Mapping[str, BoolArray]) -> Cut:
    """Remove the channels whose entry in `keep` (group name -> mask, True = kept) is False.

    The model that `analysis` was made from stays as it is.
    """
    masks = analysis.axis_masks(keep)
    edits = plan_edits(analysis, masks)
    weights = analysis.graph.weights
    model, changed = rewrite(analysis.graph.model, edits)
    return Cut(model, edits, keep, masks, replace(weights, changed={**weights.changed, **changed}))
