"""The milliseconds of one sample, as predicted."""

from onnxprune.selection.budget import Limited, cost_of, register
from onnxprune.values.amount import MILLISECONDS

register(Limited("latency", "latency", cost_of("latency"), MILLISECONDS))
