"""Importance of channels, one method per file: pure functions from statistics to scores, numpy and scipy alone.

A new method is a new file here with a `Method` registered in it; the command line, the documentation and `onnxprune
methods` find it by themselves.
"""

DEFAULT_METHOD = "reconstruction"
"""What channels are ranked by where no method is named: it keeps most of the accuracy, docs/benchmarks/methods.md."""
