"""The multiply-adds of one sample."""

from onnxprune.selection.budget import Limited, cost_of, register

register(Limited("macs", "MACs", cost_of("macs")))
