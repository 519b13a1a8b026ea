"""States that come in and go out are cut at both ends alike, where that is allowed; other inputs and outputs stay."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import POWER, TOLERANCE, Array, distance, net, random_feed, random_keep, run

from onnxprune.analysis.analyse import analyse
from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.blocks import find_blocks
from onnxprune.graph.loaded import load
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.metadata import INTERFACE, interface_of
from onnxprune.runtime import Session
from onnxprune.surgery.cut import Cut, cut
from onnxprune.surgery.mask import masked_model
from onnxprune.values.axes import Axis, BoolArray, Ref
from onnxprune.verification.equality import check_equality

GRU = """(float[5, 1, 7] x, float[1, 1, 6] h0) => (float[5, 1, 1, 3] y, float[1, 1, 6] hn)
    <float[1, 18, 7] w, float[1, 18, 6] r, float[1, 36] b, float[6, 3] w1>
    {
        h, hn = GRU<hidden_size = 6>(x, w, r, b, , h0)
        y = MatMul(h, w1)
    }"""

STREAMING = """(float[1, 4, 8] x, float[1, 10, 2] cache) => (float[1, 3, 6] y, float[1, 10, 2] kept)
    <float[10, 4, 1] w0, float[3, 10, 5] w1, int64[1] starts = {8}, int64[1] ends = {10}, int64[1] axes = {2}>
    {
        f = Conv(x, w0)
        a = Relu(f)
        long = Concat<axis = 2>(cache, a)
        y = Conv(long, w1)
        kept = Slice(long, starts, ends, axes)
    }"""

CACHED = """(float[1, 2, 16] x, float[1, 4, 3, 8] pk, float[1, 4, 3, 8] pv)
    => (float[1, 2, 5] y, float[1, 4, 5, 8] nk, float[1, 4, 5, 8] nv)
    <float[16, 32] wq, float[16, 32] wk, float[16, 32] wv, float[32, 5] wo,
     int64[4] heads = {1, 2, 4, 8}, int64[3] flat = {1, 2, 32}>
    {
        q = MatMul(x, wq)
        k = MatMul(x, wk)
        v = MatMul(x, wv)
        q4 = Reshape(q, heads)
        k4 = Reshape(k, heads)
        v4 = Reshape(v, heads)
        qt = Transpose<perm = [0, 2, 1, 3]>(q4)
        kt = Transpose<perm = [0, 2, 1, 3]>(k4)
        vt = Transpose<perm = [0, 2, 1, 3]>(v4)
        nk = Concat<axis = 2>(pk, kt)
        nv = Concat<axis = 2>(pv, vt)
        back = Transpose<perm = [0, 1, 3, 2]>(nk)
        s = MatMul(qt, back)
        p = Softmax<axis = -1>(s)
        o = MatMul(p, nv)
        ot = Transpose<perm = [0, 2, 1, 3]>(o)
        of = Reshape(ot, flat)
        y = MatMul(of, wo)
    }"""


def opened(model: onnx.ModelProto) -> Analysis:
    return analyse(read_graph(model), interface=True)


def left_of(value: Array, name: str, masks: Mapping[Axis, BoolArray]) -> Array:
    """Return what of an input or output the masks leave."""
    for axis, mask in masks.items():
        if axis.ref == Ref(name):
            value = np.compress(mask, value, axis=axis.dim)
    return value


def assert_states_are_cut(model: onnx.ModelProto) -> tuple[Analysis, Cut]:
    """Cut half of every group and compare all outputs, by runs of the bare runtime, with those of the mask."""
    analysis = opened(model)
    keep = random_keep(analysis)
    result, masks = cut(analysis, keep), analysis.axis_masks(keep)
    feed = random_feed(model)
    slim = {name: left_of(value, name, masks) for name, value in feed.items()}
    assert any(slim[name].shape != value.shape for name, value in feed.items())
    names = [value.name for value in model.graph.output]
    expected = [
        left_of(value, name, masks) for name, value in zip(names, run(masked_model(analysis, masks), feed), strict=True)
    ]
    whole = [left_of(value, name, masks) for name, value in zip(names, run(model, feed), strict=True)]
    for found, mask in zip(run(result.model, slim), expected, strict=True):
        assert distance(found, mask) <= TOLERANCE
    assert distance(whole[0], expected[0]) > POWER * TOLERANCE
    onnx.checker.check_model(result.model, full_check=True)
    # The project's own session and check take the feeds of the original.
    taken = Session(result.model.SerializeToString()).run(feed)
    for name, mask in zip(names, expected, strict=True):
        assert distance(taken[name], mask) <= TOLERANCE
    assert check_equality(analysis, result.model, masks, [feed]).status == "equal"
    return analysis, result


@pytest.mark.parametrize(("text", "sizes"), [(GRU, [6]), (STREAMING, [10]), (CACHED, [4, 8, 8])])
def test_states_are_cut_at_both_ends(text: str, sizes: list[int]) -> None:
    model = net(text)
    analysis, _ = assert_states_are_cut(model)
    assert sorted(group.size for group in analysis.prunable) == sizes


@pytest.mark.parametrize("text", [GRU, STREAMING, CACHED])
def test_states_stay_unless_that_is_allowed_and_the_reason_says_what_opens_them(text: str) -> None:
    analysis = analyse(read_graph(net(text)))
    assert not analysis.prunable
    assert "interface" in {group.opened_by for group in analysis.groups}
    assert not {group.opened_by for group in opened(net(text)).prunable} - {""}


@pytest.mark.parametrize(
    "text",
    [
        # what comes in first and goes out first is what the model is there for
        "(float[1, 6, 8] x) => (float[1, 6, 8] y) <float[6, 6, 1] w> { f = Conv(x, w)  y = Add(x, f) }",
        """(float[1, 6, 8] x, float[1, 6, 8] s) => (float[1, 6, 8] y) <float[6, 6, 1] w>
        { f = Conv(x, w)  y = Add(s, f) }""",
        # an input alone
        """(float[1, 6, 8] x, float[1, 6, 8] s) => (float[1, 2, 8] y) <float[6, 6, 1] w, float[2, 6, 1] w1>
        { f = Conv(x, w)  a = Add(s, f)  y = Conv(a, w1) }""",
        # at another place of its shape
        """(float[1, 6, 8] x, float[1, 6, 8] s) => (float[1, 2, 8] y, float[1, 8, 6] t)
        <float[6, 6, 1] w, float[2, 6, 1] w1>
        { f = Conv(x, w)  a = Add(s, f)  t = Transpose<perm = [0, 2, 1]>(a)  y = Conv(a, w1) }""",
        # in another order
        """(float[1, 6, 8] x, float[1, 6, 8] s) => (float[1, 2, 8] y, float[1, 6, 8] t)
        <float[6, 6, 1] w, float[2, 6, 1] w1, int64[6] turned = {5, 4, 3, 2, 1, 0}>
        { f = Conv(x, w)  a = Add(s, f)  t = Gather<axis = 1>(a, turned)  y = Conv(a, w1) }""",
        # an input that is handed out, and the first input or output
        """(float[1, 6, 8] x, float[1, 6, 8] s) => (float[1, 6, 8] y, float[1, 6, 8] x) <float[6, 6, 1] w>
        { y = Conv(x, w) }""",
        """(float[1, 6, 8] x, float[1, 6, 8] s) => (float[1, 6, 8] s, float[1, 6, 8] t) <float[6, 6, 1] w>
        { f = Conv(x, w)  t = Add(s, f) }""",
        # of another rank
        """(float[1, 6, 8] x, float[1, 6, 8] s) => (float[1, 2, 8] y, float[1, 6] t)
        <float[6, 6, 1] w, float[2, 6, 1] w1>
        { f = Conv(x, w)  a = Add(s, f)  t = ReduceMean<axes = [2], keepdims = 0>(a)  y = Conv(a, w1) }""",
        # with a condition that nothing hands out
        """(float[1, 6, 8] x, float[1, 6, 8] s, float[1, 6, 8] c) => (float[1, 2, 8] y, float[1, 6, 8] t)
        <float[6, 6, 1] w, float[2, 6, 1] w1>
        { f = Conv(x, w)  a = Add(s, f)  t = Relu(a)  b = Add(a, c)  y = Conv(b, w1) }""",
        # folded into a size that is free
        """(float[1, 1, 4] x, float[1, m] s) => (float[1, k, 2] y, float[1, m] t)
        <float[4, 32] w, float[32, 2] w1, int64[3] apart = {1, -1, 32}, int64[2] flat = {1, -1}>
        { f = MatMul(x, w)  r = Reshape(s, apart)  a = Add(r, f)  b = Relu(a)  t = Reshape(b, flat)
          y = MatMul(b, w1) }""",
        # with a further output that is no end of a state
        """(float[1, 6, 8] x, float[1, 6, 8] s) => (float[1, 2, 8] y, float[1, 6, 8] t, float[1, 8, 6] u)
        <float[6, 6, 1] w, float[2, 6, 1] w1>
        { f = Conv(x, w)  a = Add(s, f)  t = Relu(a)  u = Transpose<perm = [0, 2, 1]>(a)  y = Conv(a, w1) }""",
    ],
)
def test_what_is_no_state_stays(text: str) -> None:
    assert not opened(net(text)).prunable
    assert not any(group.opened_by for group in analyse(read_graph(net(text))).groups)


def test_a_part_of_an_output_that_is_a_state_is_cut_and_the_rest_stays() -> None:
    model = net(
        """(float[1, 6, 8] x, float[1, 10, 8] s) => (float[1, 2, 8] y, float[1, 10, 8] t)
        <float[6, 6, 1] w, float[2, 10, 1] w1, int64[1] from = {2}, int64[1] to = {12}, int64[1] axes = {1}>
        { f = Conv(x, w)  g = Concat<axis = 1>(x, f)  c = Slice(g, from, to, axes)  a = Add(s, c)  t = Relu(a)
          y = Conv(a, w1)
        }"""
    )
    analysis, _ = assert_states_are_cut(model)
    assert [group.size for group in analysis.prunable] == [6]


def test_a_cut_of_a_cut_says_what_is_left_of_the_original() -> None:
    model = net(GRU)
    first = cut(opened(model), {"h": np.asarray([True, True, False, True, True, True])})
    second = cut(opened(first.model), {"h": np.asarray([False, True, True, True, False])})
    left = interface_of(second.model)
    assert {name: [axis.kept for axis in axes] for name, axes in left.items()} == {"h0": [(1, 3, 4)], "hn": [(1, 3, 4)]}
    whole = Session(model.SerializeToString()).run(random_feed(model))
    assert Session(second.model.SerializeToString()).run(random_feed(model))["y"].shape == whole["y"].shape


def test_a_cut_that_is_given_as_a_model_is_its_own_original(tmp_path: Path) -> None:
    first = cut(opened(net(GRU)), {"h": np.asarray([True, True, False, True, True, True])})
    onnx.save(first.model, tmp_path / "cut.onnx")
    assert interface_of(load(tmp_path / "cut.onnx", is_step=True).proto)
    again = load(tmp_path / "cut.onnx")
    assert not again.proto.metadata_props
    second = cut(opened(again.proto), {"h": np.asarray([False, True, True, True, True])})
    assert [axis.size for axes in interface_of(second.model).values() for axis in axes] == [5, 5]


def test_states_keep_their_order_within_the_groups_of_convolutions() -> None:
    text = """(float[1, 8, 8] x, float[1, 8, 8] s) => (float[1, 2, 8] y, float[1, 8, 8] t)
        <float[8, 8, 1] w, float[8, 4, 1] wg, float[2, 8, 1] w1>
        { f = Conv(x, w)  a = Add(s, f)  t = Relu(a)  g = Conv<group = 2>(a, wg)  r = Relu(g)  y = Conv(r, w1) }"""
    assert "f" not in find_blocks(opened(net(text))).of
    assert "f" in {group.name for group in opened(net(text)).prunable}


def test_another_reason_on_the_axis_of_a_state_is_said_itself() -> None:
    text = GRU.replace("float[1, 1, 6] hn)", "float[1, 1, 6] hn, float[1, 1, 1] one)").replace(
        "float[6, 3] w1>", "float[6, 3] w1, int64[1] second = {1}>"
    ).replace("y = M", "one = Gather<axis = 2>(h0, second) y = M")  # fmt: skip
    frozen = {group.frozen for group in opened(net(text)).groups if group.frozen}
    assert not any(group.opened_by for group in opened(net(text)).groups)
    assert any("'one'" in reason for reason in frozen)


NONSENSE = [
    *("", "[", "[1]", "[" * 10**5, '{"h0": 1}', '{"h0": [[2, 6]]}', '{"h0": [[2, 6, [7]]]}', '{"h0": [[-1, 6, [0]]]}'),
    *('{"h0": [[2, 6, [1, 0]]]}', '{"h0": [[2, 6, [0, 0]]]}', '{"h0": [[2, 6, []]]}', '{"h0": [[2, 2, [0, 1]]]}'),
    '{"h0": [[2, 6, [0]], [2, 6, [1]]]}',
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_in_the_metadata_is_left_alone(nonsense: str) -> None:
    model = net(GRU)
    model.metadata_props.add(key=INTERFACE, value=nonsense)
    assert interface_of(model) == {}
    Session(model.SerializeToString()).run(random_feed(model))
