"""What calibration gathers per layer and class, as plain arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from onnxprune.values.axes import FloatArray, IntArray

LayerKind = Literal["map", "vector"]


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """Statistics of one layer's output as the next layers see it.

    Attributes:
        layer: name of the tensor that the layer produces.
        tensor: the tensor that was measured: the layer's output after its own normalisation and activation.
        kind: `map` for feature maps with more than one position, `vector` for fully connected outputs.
        positions: how many spatial positions (or tokens) a map has.
        values: statistic name -> array [classes, channels].
        clipped: share of elements outside the histogram's range.
    """

    layer: str
    tensor: str
    kind: LayerKind
    positions: int
    values: Mapping[str, FloatArray]
    clipped: float = 0.0


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of all layers over one calibration set; `samples` [classes] says how many images each class had."""

    layers: Mapping[str, LayerStatistics]
    samples: IntArray
    class_names: tuple[str, ...] = ()
    labelled: bool = True

    @property
    def present(self) -> IntArray:
        """The classes that have images."""
        return np.flatnonzero(self.samples)


@dataclass(frozen=True, eq=False)
class Scores:
    """Importance of every channel of every group: higher = keep.

    Attributes:
        values: group name -> [channels]. Under a threshold rule the scale is relative: below 1 is below the threshold.
        ties: group name -> [channels], what decides between equal values (higher = keep); then the lower index wins.
        notes: what the user should know of how the scores came about.
    """

    values: Mapping[str, FloatArray]
    ties: Mapping[str, FloatArray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
