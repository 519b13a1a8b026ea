"""How a model was arranged before anything went: an equal model, of whose channels a plan speaks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxprune.values.axes import IntArray, frozen_array


@dataclass(frozen=True, eq=False)
class Arrangement:
    """What was done to channels first.

    Attributes:
        orders: group -> [blocks, channels], in which order channels were put within the groups of convolutions.
        turned: groups whose streams were turned into their principal axes.
        seed: of the positions that these were seen at.
        samples: the digest of the samples that these were seen on.
    """

    orders: Mapping[str, IntArray] = field(default_factory=dict)
    turned: tuple[str, ...] = ()
    seed: int = 0
    samples: str = ""

    def __eq__(self, other: object) -> bool:
        """Whether the same was done."""
        return isinstance(other, Arrangement) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        """Tell arrangements apart by their groups."""
        return hash((tuple(self.orders), self.turned, self.seed, self.samples))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; nothing where nothing was done."""
        turned = {"turned": list(self.turned), "seed": self.seed, "samples": self.samples} if self.turned else {}
        orders = {"orders": {name: order.tolist() for name, order in self.orders.items()}} if self.orders else {}
        return {**turned, **orders}

    @staticmethod
    def from_json(entry: Any) -> "Arrangement":
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(entry, dict):
            raise ValueError("its arrangement is no table")
        orders, turned = entry.get("orders", {}), entry.get("turned", [])
        seed, samples = entry.get("seed", 0), entry.get("samples", "")
        if not isinstance(turned, list) or not all(isinstance(name, str) for name in turned):
            raise ValueError("the turned streams of its arrangement are no list of names")
        if not isinstance(orders, dict) or type(seed) is not int or not isinstance(samples, str):
            raise ValueError("its arrangement has no table of orders, or no seed and samples")
        return Arrangement({str(name): _order(order) for name, order in orders.items()}, tuple(turned), seed, samples)


def _order(entry: Any) -> IntArray:
    try:
        order = np.asarray(entry)
    except ValueError:  # rows of different lengths
        order = np.zeros(0)
    if order.ndim != 2 or order.dtype.kind != "i":
        raise ValueError("an order of its arrangement is no table of channels")
    return frozen_array(order, np.int64)
