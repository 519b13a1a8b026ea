"""What freezes, and the reason that reaches the user."""

import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net

from onnxprune.ops.facts import Produces
from onnxprune.ops.rules import RULES, rule


def test_an_unknown_op_freezes_with_its_name() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, int64 first = {0}, float[4, 8, 1, 1] w1, float[6, 3, 1, 1] w2, float[4, 6, 1, 1] w3> {
            c = Conv(x, w0)
            s = SequenceConstruct(c)
            d = SequenceAt(s, first)
            e = Conv(d, w1)
            f = Conv(x, w2)
            g = Conv(f, w3)
            y = Add(e, g)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets SequenceConstruct (node 1): op is not supported yet"
    assert group_sizes(model) == [6]
    assert_cut_equals_mask(model)


def test_a_named_node_is_named_in_the_reason() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 8, 5, 5] y) <float[8, 3, 1, 1] w0, int64 first = {0}> {
            c = Conv(x, w0)
            [the_list] s = SequenceConstruct(c)
            d = SequenceAt(s, first)
            y = Relu(d)
        }""")
    assert frozen_reasons(model) == {"c": "c:1 meets SequenceConstruct 'the_list': op is not supported yet"}


def test_an_op_of_a_custom_domain_freezes() -> None:
    model = net(
        """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            d = my.ops.Relu(c)
            y = Conv(d, w1)
        }""",
        domains={"my.ops": 1},
    )
    assert frozen_reasons(model)["c"] == "c:1 meets Relu (node 1): op of a custom domain"


def test_a_custom_layer_makes_no_channels() -> None:
    model = net(
        """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = my.ops.Conv(x, w0)
            y = Conv(c, w1)
        }""",
        domains={"my.ops": 1},
    )
    assert analysed(model).groups == ()


def test_channels_on_inputs_and_outputs_freeze_with_the_names() -> None:
    model = net("""(float[n, 8, 5, 5] x) => (float[n, 8, 5, 5] y, float[n, 6, 5, 5] c)
        <float[8, 8, 1, 1] w0, float[6, 8, 1, 1] w1, float[8, 6, 1, 1] w2> {
            a = Conv(x, w0)
            s = Add(a, x)
            c = Conv(s, w1)
            y = Conv(c, w2)
        }""")
    assert frozen_reasons(model) == {
        "a": "x:1 is part of the graph input 'x'",
        "c": "c:1 is part of the graph output 'c'",
        "y": "y:1 is part of the graph output 'y'",
    }


def test_a_residual_stream_is_one_group_and_inner_channels_are_their_own() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4] y)
        <float[8, 3, 1, 1] w0, float[6, 8, 3, 3] w1, float[8, 6, 1, 1] w2, float[5, 8, 3, 3] w3, float[8, 5, 1, 1] w4,
         float[8, 4] w5> {
            a = Conv(x, w0)
            b = Conv<pads = [1, 1, 1, 1]>(a, w1)
            c = Relu(b)
            d = Conv(c, w2)
            s = Add(a, d)
            e = Conv<pads = [1, 1, 1, 1]>(s, w3)
            f = Sigmoid(e)
            g = Conv(f, w4)
            t = Add(s, g)
            p = GlobalAveragePool(t)
            q = Flatten(p)
            y = Gemm(q, w5)
        }""")
    assert group_sizes(model) == [5, 6, 8]
    stream = analysed(model).by_name["a"]
    assert stream.layers == ("a", "d", "g")
    assert_cut_equals_mask(model)


IF_NET = """(float[n, 3, 5, 5] x, bool q) => (float[n, 4, 5, 5] y)
    <float[8, 3, 1, 1] w0, float[8, 3, 1, 1] w1, float[8] b, float[4, 8, 1, 1] w2> {
        c = Conv(x, w0, b)
        d = Conv(x, w1, b)
        e = Conv(d, w2)
        y = If(q) <
            then_branch = yes () => (float[n, 4, 5, 5] ty) { cc = Relu(READ) ty = Conv(cc, w2) },
            else_branch = no () => (float[n, 4, 5, 5] ny) { ny = Relu(e) }
        >
    }"""


def test_values_read_inside_a_subgraph_freeze_and_their_constants_stay() -> None:
    model = net(IF_NET.replace("READ", "c"))
    reasons = frozen_reasons(model)
    assert reasons["c"] == "c:1 is read inside a subgraph of If (node 3)"
    assert reasons["e"] == "e:1 is read inside a subgraph of If (node 3)"
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model, powerful=False)  # the mask shows in the branch not taken
    assert checked.shape("w2") == (4, 8, 1, 1)
    assert sorted(checked.result.edits.copies.values()) == ["b", "w2"]


def test_names_inside_a_subgraph_are_found_at_any_depth() -> None:
    model = net("""(float[n, 3, 5, 5] x, bool q) => (float[n, 8, 5, 5] y) <float[8, 3, 1, 1] w0> {
            c = Conv(x, w0)
            y = If(q) <
                then_branch = yes () => (float[n, 8, 5, 5] ty) {
                    ty = If(q) <then_branch = in_ () => (float[n, 8, 5, 5] u) { u = Relu(c) },
                                else_branch = out () => (float[n, 8, 5, 5] v) { v = Neg(c) }>
                },
                else_branch = no () => (float[n, 8, 5, 5] ny) { ny = Identity(c) }
            >
        }""")
    assert frozen_reasons(model)["c"] == "c:1 is read inside a subgraph of If (node 1)"


def test_an_exact_freeze_is_told_before_an_approximate_one() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 8, 5, 5] y, float[n, 8, 5, 5] z) <float[8, 3, 1, 1] w0> {
            c = Conv(x, w0)
            y = Softmax<axis = 1>(c)
            z = Relu(c)
        }""")
    group = analysed(model).by_name["c"]
    assert group.frozen == "y:1 is part of the graph output 'y'"
    assert not group.approximate


def test_rules_register_once() -> None:
    with pytest.raises(ValueError, match="op rule 'Conv' is registered twice"):
        rule("Conv")(lambda node: iter([Produces(node.output.axis(1))]))
    assert {"Conv", "Gemm", "MatMul", "Reshape", "Where", "ArgMax"} <= set(RULES)
