"""Axes that are cut along two of their factors at once: heads and head dimensions, rows and columns of a flat axis."""

import itertools

import numpy as np
import pytest
from nets import analysed, assert_cut_equals_mask, group_sizes, net

from onnxprune.analysis.explain import explain
from onnxprune.analysis.other_factors import common_positions
from onnxprune.pipeline.planning.steps import origins_of
from onnxprune.selection.goal import _block, _slow
from onnxprune.surgery.cut import cut
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.groups import Member

ATTENTION = """(float[n, 5, 6] x) => (float[n, 5, 5] y)
    <float[6, 48] wq, float[6, 48] wk, float[6, 48] wv, float[{wide}, 5] wo,
    int64[4] heads = {{0, 5, 3, 16}}, int64[3] flat = {{0, 5, 48}}{extra}> {{
        q0 = MatMul(x, wq) k0 = MatMul(x, wk) v0 = MatMul(x, wv)
        q1 = Reshape(q0, heads) k1 = Reshape(k0, heads) v1 = Reshape(v0, heads)
        q = Transpose<perm = [0, 2, 1, 3]>(q1) k = Transpose<perm = [0, 2, 3, 1]>(k1)
        v = Transpose<perm = [0, 2, 1, 3]>(v1)
        s = MatMul(q, k) p = Softmax<axis = -1>(s) m0 = MatMul(p, v)
        m = Transpose<perm = [0, 2, 1, 3]>(m0) f = Reshape(m, flat)
        {end}
    }}"""


def attention(end: str = "y = MatMul(f, wo)", wide: int = 48, extra: str = "") -> str:
    return ATTENTION.format(end=end, wide=wide, extra=extra)


def test_costs_are_exact_at_all_widths_of_both() -> None:
    analysis = analysed(net(attention()))
    heads = next(group for group in analysis.prunable if group.size == 3)
    others = [group for group in analysis.prunable if group.size == 16]
    assert [group.name for group in others] == ["q0", "v0"]
    assert heads.name == "q0#2"
    for many, (first, second) in itertools.product((1, 2, 3), ((16, 16), (5, 16), (1, 7))):
        keep = {heads.name: np.arange(3) < many, "q0": np.arange(16) < first, "v0": np.arange(16) < second}
        cut = assert_cut_equals_mask(net(attention()), keep, powerful=many < 3 or first < 16)
        left = analysed(cut.model)
        assert (analysis.macs(keep), analysis.params(keep)) == (left.macs(), left.params())


def test_an_operand_beside_other_channels_is_cut_along_both() -> None:
    """Attention beside a feed-forward layer, joined and projected together: only a part of the axis has heads."""
    text = attention("u0 = MatMul(x, wu) u = Relu(u0) j = Concat<axis = -1>(f, u) y = MatMul(j, wo)", 55)
    model = net(text.replace("{0, 5, 48}", "{0, 5, 48}, float[6, 7] wu"))
    assert group_sizes(model) == [3, 7, 16, 16]
    cut = assert_cut_equals_mask(model)
    assert cut.shape("wo") == (8 + 3, 5)
    assert cut.analysis.macs(cut.keep) == analysed(cut.model).macs()


def test_rows_and_columns_of_a_map_behind_two_layers() -> None:
    """A layer over channels, one over positions, and a classifier of all of them: it is cut along both."""
    model = net("""(float[n, 3, 7] x) => (float[n, 5] y)
        <float[6, 3, 1] w0, float[7, 4] w1, int64[2] flat = {0, 24}, float[24, 5] w2> {
            a = Conv(x, w0) b = Relu(a) c = MatMul(b, w1) d = Relu(c) e = Reshape(d, flat) y = MatMul(e, w2)
        }""")
    assert group_sizes(model) == [4, 6]
    cut = assert_cut_equals_mask(model)
    assert [cut.shape(name) for name in ("w0", "w1", "w2")] == [(3, 3, 1), (7, 2), (6, 5)]
    assert list(cut.value("flat")) == [0, 6]
    whole = {"c": np.array([True, False, True, True])}
    assert assert_cut_equals_mask(model, whole).shape("w2") == (18, 5)


def test_three_axes_that_are_flattened_into_one() -> None:
    model = net("""(float[n, 2, 2, 3] x) => (float[n, 5] y)
        <float[4, 2, 1, 1] w0, float[3, 6] w1, float[2, 8] w2, int64[2] flat = {0, 192}, float[192, 5] w3> {
            a = Conv(x, w0) b = MatMul(a, w1) t = Transpose<perm = [0, 1, 3, 2]>(b) c = MatMul(t, w2)
            e = Reshape(c, flat) y = MatMul(e, w3)
        }""")
    assert group_sizes(model) == [6, 8]  # no position lies along three
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w3") == (4 * 3 * 4, 5)
    assert checked.analysis.macs(checked.keep) == analysed(checked.model).macs()


def test_both_factors_are_explained() -> None:
    analysis = analysed(net(attention()))
    for axis in ("q1:2", "q1:3", "f:2"):
        assert explain(analysis, axis).reason is None
    assert {layer for layer, _ in explain(analysis, "q1:2").coupled} == {"q0", "k0", "v0"}
    assert {layer for layer, _ in explain(analysis, "q1:3").coupled} == {"q0", "k0"}
    assert {layer for layer, _ in explain(analysis, "q0:2").coupled} == {"k0", "v0"}


@pytest.mark.parametrize("round_to", [4, 8, 12])
def test_widths_fill_whole_blocks_whatever_goes_of_the_other_factor(round_to: int) -> None:
    analysis = analysed(net(attention()))
    blocks = {group.name: _block(group, round_to) for group in analysis.prunable}
    choices = [range(blocks[g.name], g.size + 1, blocks[g.name]) for g in analysis.prunable]
    for widths in itertools.islice(itertools.product(*choices), 200):
        keep = {g.name: np.arange(g.size) < width for g, width in zip(analysis.prunable, widths, strict=True)}
        masks = analysis.axis_masks(keep)
        for name, dim in (("q0", 2), ("v0", 2), ("f", 2)):
            mask = masks.get(Axis(Ref(name), dim))
            assert mask is None or mask.sum() % round_to == 0


def test_slow_widths_go_by_axes_that_one_group_has_alone() -> None:
    heads, *dimensions = sorted(analysed(net(attention())).prunable, key=lambda group: group.size)
    assert _slow(heads, frozenset({2, 16})) == {2, 16}, "16 columns are not one head"
    assert all(_slow(group, frozenset({2, 6})) == {2, 6} for group in dimensions)
    assert {Axis(Ref(name), 2) for name in ("q0", "k0", "v0", "f")} <= heads.crossed
    assert Axis(Ref("q1"), 2) not in heads.crossed
    assert not heads.uneven
    assert all(group.uneven == group.crossed for group in dimensions)


def test_channels_beside_those_of_two_factors_are_not_crossed() -> None:
    text = attention("u0 = MatMul(x, wu) u = Relu(u0) j = Concat<axis = -1>(f, u) y = MatMul(j, wo)", 55)
    groups = analysed(net(text.replace("{0, 5, 48}", "{0, 5, 48}, float[6, 7] wu"))).by_name
    assert not groups["u0"].crossed
    assert Axis(Ref("j"), 2) in groups["v0"].crossed


GROUPED = """(float[n, 5, 6] x) => (float[n, 4] y)
    <float[6, 32] we, float[32, 32] wq, float[32, 16] wk, float[32, 16] wv, float[32, 32] wo, float[32, 4] wy,
     int64[4] sh = {0, 5, 4, 8}, int64[4] kh = {0, 5, 2, 8}, int64[5] u5 = {0, 2, 1, 5, 8},
     int64[5] ex = {1, 2, 2, 5, 8}, int64[4] back = {0, 4, 5, 8}, int64[3] flat = {0, 5, 32}> {
        e = MatMul(x, we) q0 = MatMul(e, wq) k0 = MatMul(e, wk) v0 = MatMul(e, wv)
        q1 = Reshape(q0, sh) q = Transpose<perm = [0, 2, 1, 3]>(q1)
        k1 = Reshape(k0, kh) k2 = Transpose<perm = [0, 2, 1, 3]>(k1) k3 = Reshape(k2, u5) k4 = Expand(k3, ex)
        k5 = Reshape(k4, back) k = Transpose<perm = [0, 1, 3, 2]>(k5)
        v1 = Reshape(v0, kh) v2 = Transpose<perm = [0, 2, 1, 3]>(v1) v3 = Reshape(v2, u5) v4 = Expand(v3, ex)
        v = Reshape(v4, back)
        s = MatMul(q, k) p = Softmax<axis = -1>(s) m0 = MatMul(p, v) m = Transpose<perm = [0, 2, 1, 3]>(m0)
        f = Reshape(m, flat) o = MatMul(f, wo) z = Add(e, o) z3 = ReduceMean<axes = [1], keepdims = 0>(z)
        y = MatMul(z3, wy)
    }"""


def test_a_later_step_leaves_out_groups_that_a_cut_has_made() -> None:
    """Queries that share one head of keys can go one by one once it is the only one."""
    model = net(GROUPED)
    whole = analysed(model)
    keep = {group.name: np.arange(group.size) < (group.size + 1) // 2 for group in whole.prunable}
    assert sorted(group.size for group in whole.prunable) == [2, 8, 8, 32]
    present = analysed(cut(whole, keep).model)
    origins = origins_of(whole, keep, present)
    assert set(origins) < {group.name for group in present.free}
    assert {name for name, _ in origins.values()} == {name for name, mask in keep.items() if mask.sum() > 1}


def test_channels_meet_in_as_many_positions_or_it_depends() -> None:
    def member(positions: list[list[int]]) -> Member:
        return Member(Axis(Ref("a"), 0), np.asarray(positions), "activation")

    rows, columns = member([[0, 1, 2], [3, 4, 5]]), member([[0, 3], [1, 4], [2, 5]])
    assert common_positions(rows, columns) == common_positions(columns, rows) == 1
    assert common_positions(rows, member([[6], [7]])) == 0
    assert common_positions(rows, member([[0], [1]])) is None
    assert common_positions(member([[0, 1, 2, 3], [4, 5, 6, 7]]), member([[0, 1, 4, 5], [2, 3, 6, 7]])) == 2
