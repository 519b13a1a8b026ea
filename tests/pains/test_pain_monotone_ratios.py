"""A higher ratio must never give a bigger model."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import analysed, assert_cut_equals_mask, net

import onnxprune
from onnxprune.graph.storage.measures import count_params
from onnxprune.selection.budget import Budget

RATIOS = [round(0.05 * step, 2) for step in range(19)]

NETS = {
    "residual with a narrow neck": """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[20, 3, 1, 1] w0, float[12, 20, 1, 1] w1, float[20, 12, 3, 3] w2, float[4, 20, 1, 1] w3> {
            a = Conv(x, w0)
            b = Conv(a, w1)
            c = Conv<pads = [1, 1, 1, 1]>(b, w2)
            s = Add(a, c)
            y = Conv(s, w3)
        }""",
    "grouped and depthwise": """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[24, 3, 1, 1] w0, float[24, 6, 3, 3] w1, float[24, 1, 3, 3] w2, float[4, 24, 1, 1] w3> {
            a = Conv(x, w0)
            b = Conv<group = 4, pads = [1, 1, 1, 1]>(a, w1)
            c = Conv<group = 24, pads = [1, 1, 1, 1]>(b, w2)
            y = Conv(c, w3)
        }""",
    "concat of widths that are no blocks": """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[11, 3, 1, 1] w0, float[18, 3, 1, 1] w1, float[33, 29, 1, 1] w2, float[4, 33, 1, 1] w3> {
            a = Conv(x, w0)
            b = Conv(x, w1)
            c = Concat<axis = 1>(a, b)
            d = Conv(c, w2)
            y = Conv(d, w3)
        }""",
    "matrices behind a flatten": """(float[n, 3, 2, 2] x) => (float[n, 4] y)
        <float[10, 3, 1, 1] w0, float[40, 25] w1, float[25] b1, float[25, 4] w2> {
            a = Conv(x, w0)
            f = Flatten(a)
            g = Gemm(f, w1, b1)
            r = Relu(g)
            y = MatMul(r, w2)
        }""",
    "shared weights that have to be copied": """(float[n, 3, 5, 5] x) => (float[n, 12, 5, 5] y)
        <float[12, 3, 1, 1] w0, float[12, 12, 1, 1] w1, float[12] bias> {
            a = Conv(x, w0, bias)
            b = Conv(a, w1, bias)
            y = Conv(b, w1, bias)
        }""",
}


@pytest.mark.parametrize("round_to", [1, 8])
@pytest.mark.parametrize("kind", NETS)
def test_torch_pruning_417_a_higher_ratio_never_gives_a_bigger_model(kind: str, round_to: int, tmp_path: Path) -> None:
    """Asking for more removed LESS; channels, MACs and weights fall, or stay where rounding says so."""
    path = tmp_path / "net.onnx"
    onnx.save(net(NETS[kind]), path)
    model = onnxprune.load(path)
    analysis = onnxprune.inspect(model)
    scores = onnxprune.score(analysis, onnxprune.collect(analysis, None, "random"), "random")
    found, last = [], None
    for ratio in RATIOS:
        plan = onnxprune.plan(model, analysis, scores, Budget(ratio=ratio), "random", round_to=round_to)
        keep = plan.keep()
        slim = onnxprune.apply(model, analysis, plan)[0].model
        again = analysed(slim)
        assert again.macs() == analysis.macs(keep)
        for name, mask in keep.items():
            kept = int(np.count_nonzero(mask))
            if round_to == 1:
                floor = -(-analysis.by_name[name].size // 10)
                assert kept == max(floor, int(analysis.by_name[name].size * (1 - ratio) + 1e-9))
            if last is not None:
                # What went at a lower ratio is gone at a higher one, too.
                assert not (mask & ~last[name]).any()
        last = keep
        sizes = sum(int(np.count_nonzero(mask)) for mask in keep.values())
        found.append((sizes, again.macs(), count_params(slim), sum(len(t.raw_data) for t in slim.graph.initializer)))
    # A copy of what was shared costs weights once; the work never grows.
    compared = 2 if kind.startswith("shared") else 4
    for before, after in pairwise(found):
        assert all(more >= less for more, less in zip(before[:compared], after[:compared], strict=True))
    assert found[0][1] == analysis.macs()
    assert all(less < more for more, less in zip(found[0][:3], found[-1][:3], strict=True))


@pytest.mark.parametrize("kind", NETS)
def test_torch_pruning_417_the_extremes_are_exact(kind: str) -> None:
    """Both ends of the scale still compute what the masks say."""
    for ratio in (0.05, 0.9):
        assert_cut_equals_mask(net(NETS[kind]), ratio=ratio)
