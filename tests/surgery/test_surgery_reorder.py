"""Channels trade places within the groups of convolutions, and the network computes what it did."""

from random import Random

import numpy as np
import onnx
import pytest
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from nets import analysed, distance, net, random_feed, run
from random_nets import draw_net
from refusals import refused

from onnxprune.analysis.blocks import find_blocks
from onnxprune.surgery.reorder import reorder

GROUPED = """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
    <float[12, 3, 1, 1] w0, float[12] b0, float[9, 4, 3, 3] w1, float[9] b1, float[4, 9, 1, 1] w2> {
        c = Conv(x, w0, b0)
        r = Relu(c)
        d = Conv<group = 3, pads = [1, 1, 1, 1]>(r, w1, b1)
        y = Conv(d, w2)
    }"""

NORMALISED = """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
    <float[8, 3, 1, 1] w0, float[8] s, float[8] b, float[8] m, float[8] v, float[8, 1, 1] slope,
     float[8, 1, 3, 3] k, float[6, 4, 1, 1] w1, float[4, 6, 1, 1] w2> {
        c = Conv(x, w0)
        n0 = BatchNormalization(c, s, b, m, v)
        p = PRelu(n0, slope)
        q = Conv<group = 8, pads = [1, 1, 1, 1]>(p, k)
        d = Conv<group = 2>(q, w1)
        y = Conv(d, w2)
    }"""

TRANSPOSED = """(float[n, 3, 5, 5] x) => (float[n, 4, 6, 6] y)
    <float[8, 3, 1, 1] w0, float[8, 3, 2, 2] w1, float[6] b1, float[4, 6, 1, 1] w2> {
        c = Conv(x, w0)
        d = ConvTranspose<group = 2>(c, w1, b1)
        y = Conv(d, w2)
    }"""

IN_PARTS = """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
    <float[4, 3, 1, 1] w0, float[4, 3, 1, 1] w1, float[6, 4, 1, 1] w2, float[4, 6, 1, 1] w3> {
        a = Conv(x, w0)
        b = Conv(x, w1)
        c = Concat<axis = 1>(a, b)
        d = Conv<group = 2>(c, w2)
        y = Conv(d, w3)
    }"""

SHUFFLED = """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
    <float[8, 3, 1, 1] w0, int64[8] at = {0, 4, 1, 5, 2, 6, 3, 7}, float[6, 4, 1, 1] w1, float[4, 6, 1, 1] w2> {
        c = Conv(x, w0)
        s = Gather<axis = 1>(c, at)
        d = Conv<group = 2>(s, w1)
        y = Conv(d, w2)
    }"""

NO_FILTERS = """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
    <float[8, 3, 1, 1] w0, float[0, 4, 1, 1] we, float[6, 4, 1, 1] w1, float[4, 6, 1, 1] w2> {
        c = Conv(x, w0)
        e = Conv<group = 2>(c, we)
        d = Conv<group = 2>(c, w1)
        f = Concat<axis = 1>(e, d)
        y = Conv(f, w2)
    }"""

UNEQUAL = """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
    <float[16, 3, 1, 1] w0, float[4, 4, 1, 1] w1, float[4, 8, 1, 1] w2, float[4, 8, 1, 1] w3> {
        c = Conv(x, w0)
        d = Conv<group = 4>(c, w1)
        e = Conv<group = 2>(c, w2)
        f = Concat<axis = 1>(d, e)
        y = Conv(f, w3)
    }"""


def turned(model: onnx.ModelProto, seed: int = 0) -> float:
    """Put the channels of every block into a random order, and return how far the outputs are from what they were."""
    analysis = analysed(model)
    blocks = find_blocks(analysis)
    rng = np.random.default_rng(seed)
    orders = {
        name: rng.permuted(np.tile(np.arange(of.shape[1]), (len(of), 1)), axis=1) for name, of in blocks.of.items()
    }
    changed, _ = reorder(analysis, blocks, orders)
    assert [node.SerializeToString() for node in changed.graph.node] == [
        node.SerializeToString() for node in model.graph.node
    ]
    feed = random_feed(model)
    return max(distance(a, b) for a, b in zip(run(model, feed), run(changed, feed), strict=True))


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        (GROUPED, {"c": (3, 4), "d": (3, 3)}),
        (NORMALISED, {"c": (2, 4), "d": (2, 3)}),
        (TRANSPOSED, {"c": (2, 4), "d": (2, 3)}),
        (IN_PARTS, {"a": (2, 4), "d": (2, 3)}),
        (UNEQUAL, {"c": (4, 4), "e": (2, 2)}),
        (SHUFFLED, {"c": (2, 4), "d": (2, 3)}),
    ],
)
def test_the_network_stays_the_same(text: str, shapes: dict[str, tuple[int, int]]) -> None:
    model = net(text)
    blocks = find_blocks(analysed(model))
    assert {name: of.shape for name, of in blocks.of.items()} == shapes
    for seed in range(3):
        assert turned(model, seed) < 1e-5


@pytest.mark.parametrize(
    "text",
    [
        GROUPED.replace("r = Relu(c)", "r = GroupNormalization<num_groups = 3>(c, g, g)").replace(
            "float[12] b0,", "float[12] b0, float[12] g,"
        ),
        GROUPED.replace("Conv<group = 3, pads = [1, 1, 1, 1]>(r, w1, b1)", "Conv<group = 3>(r, w0, b1)"),
        GROUPED.replace("group = 3", "group = 1"),
    ],
    ids=["a normalisation over groups", "a weight of two layers", "no groups"],
)
def test_what_is_tied_by_more_stays_in_its_order(text: str) -> None:
    text = text.replace("[12, 3, 1, 1] w0", "[12, 4, 1, 1] w0").replace("[n, 3, 5, 5] x", "[n, 4, 5, 5] x")
    if "w0, b1" in text:
        text = text.replace("float[9] b1, float[4, 9", "float[12] b1, float[4, 12")
    blocks = find_blocks(analysed(net(text)))
    assert "c" not in blocks.of


@pytest.mark.parametrize("order", [[[0, 1, 2]], [[0, 1, 1]] * 3, [[0, 1, 3]] * 3])
def test_an_order_of_other_channels_is_refused(order: list[list[int]]) -> None:
    analysis = analysed(net(GROUPED))
    with refused("wrong-model", "'d'"):
        reorder(analysis, find_blocks(analysis), {"d": np.asarray(order)})


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_random_nets_stay_the_same(rng: Random) -> None:
    model = draw_net(rng)
    note(onnx.printer.to_text(model))
    assert turned(model) < 1e-4


def test_a_layer_without_filters_says_nothing() -> None:
    assert {name: of.shape for name, of in find_blocks(analysed(net(NO_FILTERS))).of.items()} == {
        "c": (2, 4),
        "d": (2, 3),
    }
    assert turned(net(NO_FILTERS)) < 1e-5


def test_a_window_over_channels_keeps_them_in_order() -> None:
    model = net(GROUPED.replace("r = Relu(c)", "r = LRN<size = 3>(c)"))
    assert "c" in {group.name for group in analysed(model, approximate=True).prunable}
    assert "c" not in find_blocks(analysed(model, approximate=True)).of
