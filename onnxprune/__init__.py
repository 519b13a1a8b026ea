"""onnxprune: class-aware channel pruning for any ONNX network."""

__version__ = "0.1.0"
