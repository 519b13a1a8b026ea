"""Networks in half precision: ranked, recovered and checked as in single."""

from pathlib import Path

import numpy as np
import onnx
from nets import in_half
from places import CALIB, RESNET, TEST

import onnxprune


def test_half_precision_recovers_what_single_does(tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    onnx.save(in_half(onnx.load(RESNET)), half)
    reached = []
    for model in (RESNET, half):
        output = tmp_path / f"small_{model.name}"
        result = onnxprune.prune(model, CALIB, "random", test=TEST, output=output, macs=0.06, round_to=1)
        assert result.equality is not None
        assert result.equality.status == "equal"
        quality = result.quality
        assert quality is not None
        assert quality.after is not None
        steps = {step.name: step.top1 for step in quality.steps}
        assert steps["refit"] is not None
        assert steps["cut"] is not None
        assert steps["refit"] > steps["cut"] + 0.2
        reached.append(quality.after.top1)
    assert abs(reached[1] - reached[0]) < 0.05
    weights = [
        onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "small_half.onnx").graph.initializer
    ]
    assert {value.dtype for value in weights if value.dtype.kind == "f"} == {np.dtype(np.float16)}
    assert all(np.isfinite(value).all() for value in weights if value.dtype.kind == "f")
