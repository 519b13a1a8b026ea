"""Gathering statistics: the model is instrumented so that onnxruntime reduces every feature map before it leaves."""
