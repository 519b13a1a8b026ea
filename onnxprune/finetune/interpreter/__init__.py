"""An ONNX graph as a torch module with the file's own parameters, and the way back into the file."""
