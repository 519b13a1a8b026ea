"""How each op is computed in torch: one file per family, as in `onnxprune.ops`."""
