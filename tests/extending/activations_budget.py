"""A budget of another package: the numbers that all layers together write for one sample, which memory has to carry."""

from onnxprune.selection.budget import Limited
from onnxprune.values.amount import COUNTS
from onnxprune.values.axes import FloatArray
from onnxprune.values.costs import CostTable


def written(costs: CostTable, widths: FloatArray) -> float:
    """Return how many numbers are written where axes have these widths."""
    return sum(term.at(widths) for term in costs.made)


BUDGET = Limited("activations", "numbers that layers write", written, COUNTS)
