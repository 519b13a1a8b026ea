"""The number of weights."""

from onnxprune.selection.budget import Limited, cost_of, register
from onnxprune.values.amount import COUNTS

register(Limited("params", "parameters", cost_of("params"), COUNTS))
