"""Depthwise layers on whole blocks of channels give what they gave."""

import onnx
import pytest
from nets import net, random_feed, run

from onnxprune.linear.depthwise import BLOCK, fill_blocks

NET = """(float[n, 21, 6, 6] x) => (float[n, 5, 3, 3] y) <float[21, 1, 3, 3] w{more}> {{
    a = Conv<group = 21, strides = [2, 2], pads = [1, 1, 1, 1]>(x, w{bias})
    r = Relu(a)
    y = Conv(r, v)
}}"""


@pytest.mark.parametrize("bias", ["", ", b"])
def test_results_stay_and_the_width_is_one_that_has_fast_kernels(bias: str) -> None:
    model = net(NET.format(more=(", float[21] b" if bias else "") + ", float[5, 21, 1, 1] v", bias=bias))
    feed = random_feed(model)
    before = run(model, feed)
    fill_blocks(model)
    groups = [a.i for node in model.graph.node for a in node.attribute if a.name == "group"]
    assert groups == [32]
    assert groups[0] % BLOCK == 0
    onnx.checker.check_model(model)
    for found, expected in zip(run(model, feed), before, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "(float[n, 32, 6, 6] x) => (float[n, 32, 4, 4] y) <float[32, 1, 3, 3] w> { y = Conv<group = 32>(x, w) }",
        "(float[n, 6, 6, 6] x) => (float[n, 12, 4, 4] y) <float[12, 1, 3, 3] w> { y = Conv<group = 6>(x, w) }",
        "(float[n, 6, 6, 6] x) => (float[n, 6, 4, 4] y) <float[6, 3, 3, 3] w> { y = Conv<group = 2>(x, w) }",
        "(float[n, 6, 6] x) => (float[n, 6, 4] y) <float[6, 1, 3] w> { y = Conv<group = 6>(x, w) }",
        "(float[n, 6, 6, 6] x, float[6, 1, 3, 3] w) => (float[n, 6, 4, 4] y) { y = Conv<group = 6>(x, w) }",
    ],
    ids=["whole blocks", "a multiplier", "wider groups", "one axis of space", "computed weight"],
)
def test_other_layers_are_left_as_they_are(text: str) -> None:
    model = net(text)
    before = model.SerializeToString()
    fill_blocks(model)
    assert model.SerializeToString() == before
