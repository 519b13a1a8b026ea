"""Leaving out branches: cut equals mask, exactly the nodes of the branch go, and planted bugs are found."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import onnx
import pytest
from branched import NETS, RESIDUAL, made, without
from nets import analysed, assert_cut_equals_mask, distance, net, random_feed, random_keep, run
from refusals import refused

from onnxprune.surgery.cut import Cut, cut
from onnxprune.surgery.mask import gated_model, masked_model
from onnxprune.values.branches import left_out
from onnxprune.verification.equality import check_equality

NORMALISED = NETS["dense"].text.replace("z2 = Relu(j2)", "b2 = Sigmoid(j2)\n z2 = Relu(b2)")

SETS = [
    (name, branches)
    for name, case in NETS.items()
    for count in range(1, len(case.branches) + 1)
    for branches in combinations(case.branches, count)
    if (name, count) != ("inception", 3)
]


@pytest.mark.parametrize(("name", "branches"), SETS)
@pytest.mark.parametrize("narrowed", [False, True])
def test_cut_equals_mask_and_the_nodes_of_the_branches_are_gone(
    name: str, branches: tuple[str, ...], *, narrowed: bool
) -> None:
    case = NETS[name]
    model = case.model
    keep = {**(random_keep(analysed(model)) if narrowed else {}), **without(model, *branches)}
    found = assert_cut_equals_mask(model, keep)
    gone = {output for branch in branches for output in case.branches[branch][1]}
    assert set(made(model)) - set(made(found.model)) == gone
    assert [branch.name for branch in found.result.branches] == list(branches)


def test_a_sum_with_one_operand_left_keeps_its_name_and_adds_nothing() -> None:
    model = net(RESIDUAL)
    found = assert_cut_equals_mask(model, without(model, "d1", "d2"))
    ops = {node.output[0]: node.op_type for node in found.model.graph.node}
    assert [ops[name] for name in ("s1", "r1", "s2", "r2")] == ["Identity"] * 4, "a Relu of a Relu does nothing either"
    assert found.node("s2").name == "sum2"
    assert list(found.node("s2").input) == ["r1"]
    assert {tensor.name for tensor in found.model.graph.initializer} == {"w0", "b0", "w5"}


def test_a_relu_stays_where_what_it_reads_may_be_negative() -> None:
    model = net(RESIDUAL.replace("[act1] r1 = Relu(s1)", "[act1] r1 = Tanh(s1)"))
    found = assert_cut_equals_mask(model, without(model, "d2"))
    assert found.node("r2").op_type == "Relu"
    assert found.node("s2").op_type == "Identity"


def test_a_sum_of_three_stays_a_sum_of_two() -> None:
    model = NETS["three"].model
    found = assert_cut_equals_mask(model, without(model, "b2"))
    assert (found.node("s").op_type, list(found.node("s").input)) == ("Sum", ["a", "c2"])


def test_a_group_that_is_no_branch_keeps_a_channel() -> None:
    analysis = analysed(net(RESIDUAL))
    with refused("bad-value", "stem"):
        cut(analysis, {"stem": np.zeros(8, dtype=bool)})


def test_a_concat_keeps_an_operand() -> None:
    model = NETS["inception"].model
    with refused("bad-value", "no operand left"):
        cut(analysed(model), without(model, "ar", "c", "d"))


def _wrong_operand(result: Cut) -> None:
    node = next(node for node in result.model.graph.node if node.output[0] == "s1")
    node.input[0] = "stem"


def _relu_gone(result: Cut) -> None:
    node = next(node for node in result.model.graph.node if node.output[0] == "r0")
    node.op_type = "Identity"


def _halved(result: Cut) -> None:
    node = next(node for node in result.model.graph.node if node.output[0] == "s1")
    node.op_type = "Add"
    node.input.append(node.input[0])


@pytest.mark.parametrize("bug", [_wrong_operand, _relu_gone, _halved])
def test_planted_bugs_are_found(bug: Callable[[Cut], None]) -> None:
    model = net(RESIDUAL)
    analysis = analysed(model)
    result = cut(analysis, without(model, "d1"))
    feeds = [random_feed(model)]
    assert check_equality(analysis, result.model, result.masks, feeds, branches=result.branches).status == "equal"
    broken = onnx.ModelProto()
    broken.CopyFrom(result.model)
    bug(replace(result, model=broken))
    assert check_equality(analysis, broken, result.masks, feeds, branches=result.branches).status == "different"


def test_the_oracle_of_another_branch_is_told_from_this_one() -> None:
    model = net(RESIDUAL)
    analysis = analysed(model)
    result, other = (cut(analysis, without(model, name)) for name in ("d1", "d2"))
    found = check_equality(analysis, result.model, result.masks, [random_feed(model)], branches=other.branches)
    assert found.status == "different"


@pytest.mark.parametrize("name", [*NETS, "dense, normalised"])
def test_a_closed_gate_is_the_mask_of_a_branch_and_open_ones_change_nothing(name: str) -> None:
    model = net(NORMALISED) if name not in NETS else NETS[name].model
    analysis = analysed(model)
    gated, gates = gated_model(analysis, analysis.branches)
    feed, ones = random_feed(model), dict.fromkeys(gates, np.ones((), dtype=np.float32))
    (whole,), (still,) = run(model, feed), run(gated, {**feed, **ones})
    assert distance(still, whole) < 1e-5
    for branch, gate in zip(analysis.branches, gates, strict=True):
        keep = without(model, branch.name)
        masked = masked_model(analysis, analysis.axis_masks(keep), left_out(analysis.branches, keep))
        (expected,), (closed,) = run(masked, feed), run(gated, {**feed, **ones, gate: np.zeros((), dtype=np.float32)})
        assert distance(closed, expected) < 1e-5
        assert distance(whole, expected) > 1e-3


def test_a_concat_within_a_branch_goes_with_it() -> None:
    model = net(
        """(float[n, 4, 6, 6] x) => (float[n, 3, 6, 6] y)
        <float[8, 4, 1, 1] w0, float[5, 8, 1, 1] w1, float[6, 8, 1, 1] w2, float[8, 11, 1, 1] w3,
         float[3, 8, 1, 1] w4> {
            h = Conv(x, w0)
            a = Conv(h, w1)
            b = Conv(h, w2)
            j = Concat<axis = 1>(a, b)
            r = Relu(j)
            o = Conv(r, w3)
            s = Add(h, o)
            y = Conv(s, w4)
        }"""
    )
    assert [branch.name for branch in analysed(model).branches] == ["a", "b", "o"]
    found = assert_cut_equals_mask(model, without(model, "o"))
    assert made(found.model) == ["h", "s", "y"]
    assert [branch.name for branch in found.result.branches] == ["o"], "what lies within it goes with it"


def test_of_branches_with_the_same_channels_the_inner_one_goes() -> None:
    text = RESIDUAL.replace(
        "[sum1] s1 = Add(r0, d1)",
        "p0 = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(r0)\n q = Add(p0, d1)\n [sum1] s1 = Add(r0, q)",
    )
    model = net(text)
    assert [branch.name for branch in analysed(model).branches] == ["d1", "d2"]
    found = assert_cut_equals_mask(model, without(model, "d1"))
    assert set(made(model)) - set(made(found.model)) == {"c1", "a1", "d1"}


def test_a_stream_that_is_cut_inexactly_loses_a_branch_with_its_norm() -> None:
    model = net("""(float[n, 5, 3] x) => (float[n, 5, 4] y)
        <float[3, 8] we, float[8] g, float[8, 6] w1, float[6, 8] w2, float[8, 4] w3> {
            e = MatMul(x, we) l = LayerNormalization(e, g) a = MatMul(l, w1) b = Relu(a) o = MatMul(b, w2)
            z = Add(e, o) y = MatMul(z, w3)
        }""")
    analysis = analysed(model, approximate=True)
    (branch,) = analysis.branches
    keep = {"e": np.arange(8) < 5, **analysis.emptied(branch.groups)}
    checked = assert_cut_equals_mask(model, keep, approximate=True)
    assert checked.shape("w3") == (5, 4)
    assert not any(node.op_type == "LayerNormalization" for node in checked.model.graph.node)
