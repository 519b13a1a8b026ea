"""Names for what is labelled: an axis of a tensor, or of one use of a constant.

Constants are addressed per use (the reading node and its input slot), because exporters share equal constants between
unrelated layers: labelling the shared tensor would couple the layers.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


class Ref(NamedTuple):
    """An activation (`node` is -1), or the use of a constant as input `slot` of node number `node`."""

    name: str
    node: int = -1
    slot: int = -1

    @property
    def is_use(self) -> bool:
        """Whether this is one use of a constant."""
        return self.node >= 0


class Axis(NamedTuple):
    """One axis of an activation or of a constant's use."""

    ref: Ref
    dim: int

    def __str__(self) -> str:
        return f"{self.ref.name}:{self.dim}"


def frozen_array(values: Any, dtype: Any = None) -> NDArray[Any]:
    """Return `values` as a read-only array of its own (no copy is made of an array that is read-only already)."""
    array = np.asarray(values, dtype=dtype)
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array
