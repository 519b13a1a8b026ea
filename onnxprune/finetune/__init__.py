"""Training an ONNX graph where it stands: a torch module over its nodes, whose values go back into the same file.

`interpreter` is the module and the way back, `training` what is done with it. Needs torch (`pip install
"onnxprune[torch]"`), which no other part of the package imports.
"""
