"""Which branches can be left out, what lies in each, and what they cost."""

import pytest
from branched import DENSE, NETS, OPTION_A, PROJECTION, RESIDUAL, without
from nets import analysed, net

from onnxprune.analysis.analysis import counts
from onnxprune.surgery.cut import cut


@pytest.mark.parametrize("name", NETS)
def test_the_branches_of_a_net_are_known_with_their_groups_and_nodes(name: str) -> None:
    case = NETS[name]
    analysis = analysed(case.model)
    nodes = analysis.graph.nodes
    found = {
        branch.name: (branch.groups, tuple(nodes[number].outputs[0] for number in branch.nodes))
        for branch in analysis.branches
        if branch.name in case.branches
    }
    assert {key: (set(groups), made) for key, (groups, made) in found.items()} == {
        key: (set(groups), made) for key, (groups, made) in case.branches.items()
    }


@pytest.mark.parametrize("name", NETS)
def test_a_branch_that_goes_costs_nothing(name: str) -> None:
    model = NETS[name].model
    for branch in NETS[name].branches:
        analysis, keep = analysed(model), without(model, branch)
        smaller = analysed(cut(analysis, keep).model)
        assert analysis.costs.macs_at(counts(keep)) == smaller.macs()
        assert analysis.costs.params_at(counts(keep)) == smaller.params()


def test_the_shortcut_is_the_operand_with_fewest_layers() -> None:
    assert [branch.name for branch in analysed(net(PROJECTION)).branches] == ["c"]
    assert [branch.name for branch in analysed(net(OPTION_A)).branches] == ["c"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("=> (float[n, 5] y)", "=> (float[n, 5] y, float[n, 6, 6, 6] a1)"),  # looked at from outside
        ("r1 = Relu(s1)", "r1 = Relu(s1)\n e = Exp(a1)\n q = GlobalAveragePool(e)\n z = Flatten(q)"),  # read elsewhere
        ("s1 = Add(r0, d1)", "s1 = Sub(r0, d1)"),  # no sum
        ("s1 = Add(r0, d1)", "g1 = GlobalAveragePool(d1)\n s1 = Add(r0, g1)"),  # broadcast
        ("s1 = Add(r0, d1)", "s1 = Add(d1, d1)"),  # twice
    ],
)
def test_what_others_need_is_no_branch(old: str, new: str) -> None:
    text = RESIDUAL.replace(old, new)
    if "z = Flatten" in new:
        text = text.replace("y = Gemm(f, w5)", "v = Gemm(f, w5)\n u = ReduceMean<axes = [1]>(z)\n y = Add(v, u)")
    assert "d1" not in [branch.name for branch in analysed(net(text)).branches]


def test_a_branch_of_one_layer_has_no_channels_of_its_own() -> None:
    text = RESIDUAL.replace("c1 = Conv<pads = [1, 1, 1, 1]>(r0, w1, b1)", "c1 = Relu(r0)")
    text = text.replace("float[8, 6, 3, 3] w2", "float[8, 8, 3, 3] w2")
    assert [branch.name for branch in analysed(net(text)).branches] == ["d2"]


def test_a_weight_that_branches_share_holds_them() -> None:
    text = RESIDUAL.replace("(r1, w3)", "(r1, w1, b1)").replace("(a2, w4, b4)", "(a2, w2, b2)")
    assert analysed(net(text)).branches == ()


def test_dense_features_go_from_every_concat_that_reads_them() -> None:
    analysis = analysed(net(DENSE))
    (branch,) = [branch for branch in analysis.branches if branch.name == "f1"]
    assert [(analysis.graph.nodes[node].outputs[0], slot) for node, slot in branch.joins] == [("j1", 1), ("j2", 1)]
