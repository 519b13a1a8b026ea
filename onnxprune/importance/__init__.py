"""Importance of channels, one method per file: pure functions from statistics to scores, numpy alone.

A new method is a new file here with a `Method` registered in it; the command line, the documentation and `onnxprune
methods` find it by themselves.
"""
