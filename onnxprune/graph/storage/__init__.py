"""Reading and writing .onnx files and what lies beside them, so that nothing is ever half written."""
