"""A quantized model through the command line: the report says on which steps cut and mask agree."""

from pathlib import Path

import onnx
from places import SAMPLES
from program import prune
from quantized_nets import quantized


def test_the_report_says_that_integers_agree_in_every_bit(tmp_path: Path) -> None:
    source = tmp_path / "quantized.onnx"
    onnx.save(quantized(SAMPLES / "digits_convnet.onnx", "QDQ", per_channel=True), source)
    ended = prune(tmp_path / "half.onnx", "--method", "random", "--ratio", "0.5", "--force", model=source)
    assert ended.code == 0, ended.stderr
    assert "cut equals mask: exact in int8" in " ".join(ended.stdout.split())
