"""Remove channels from a model."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from onnxprune.analysis.analyse import Analysis
from onnxprune.surgery.edits import Edits, plan_edits
from onnxprune.surgery.rewrite import rewrite
from onnxprune.values.axes import Axis, BoolArray


@dataclass(frozen=True, eq=False)
class Cut:
    """A cut model and what was changed to get it."""

    model: onnx.ModelProto
    edits: Edits
    keep: Mapping[str, BoolArray]
    masks: Mapping[Axis, BoolArray]


def cut(analysis: Analysis, keep: Mapping[str, BoolArray]) -> Cut:
    """Remove the channels whose entry in `keep` (group name -> mask, True = kept) is False.

    The model that `analysis` was made from stays as it is.
    """
    masks = analysis.axis_masks(keep)
    edits = plan_edits(analysis, masks)
    return Cut(rewrite(analysis.graph.model, edits), edits, keep, masks)
