"""Reading, checking and writing ONNX files, and the frozen view of a graph that the analysis reads."""
