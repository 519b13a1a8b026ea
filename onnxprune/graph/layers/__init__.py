"""Which operand of an op is what: data, weight and bias of layers, scales and zero points of quantized ops."""
