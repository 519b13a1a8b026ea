"""The bytes of the file."""

from onnxprune.selection.budget import Limited, cost_of, register
from onnxprune.values.amount import BYTES

RESERVE = 1024
"""Bytes that are kept for what the file is told of the cut."""

register(Limited("size", "file's size", cost_of("bytes"), BYTES, RESERVE, key="bytes"))
