"""If, Loop, Scan, sequences and optionals: what they read is frozen, nothing inside changes, and the rest is cut."""

from collections.abc import Iterator

import onnx
import pytest
from nets import Checked, analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net


def subgraphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g


def assert_bodies_untouched(checked: Checked) -> None:
    before = [graph.SerializeToString() for graph in subgraphs(checked.analysis.graph.model)]
    assert [graph.SerializeToString() for graph in subgraphs(checked.model)] == before
    assert before


# By name: the net around a block `f = ...(e)`, where e has 8 channels, and why e is frozen.
BLOCKS = {
    "an If that captures": (
        """f = If(k) <then_branch = t () => (float[n, 8] ta) { ta = Relu(e) },
                      else_branch = s () => (float[n, 8] b) { b = Neg(e) }>""",
        "e:1 is read inside a subgraph of If (node 3)",
    ),
    "layers inside": (
        """f = If(k) <then_branch = t () => (float[n, 8] ta) { p = MatMul(e, v) q = Relu(p) ta = MatMul(q, v) },
                      else_branch = s () => (float[n, 8] b) { b = MatMul(e, v) }>""",
        "e:1 is read inside a subgraph of If (node 3)",
    ),
    "an If in an If": (
        """f = If(k) <then_branch = t () => (float[n, 8] ta) {
                        ta = If(k) <then_branch = t2 () => (float[n, 8] c) { c = Relu(e) },
                                   else_branch = s2 () => (float[n, 8] d) { d = Abs(e) }> },
                      else_branch = s () => (float[n, 8] b) { b = Neg(e) }>""",
        "e:1 is read inside a subgraph of If (node 3)",
    ),
    "a Loop that carries": (
        """f = Loop(trips, k, e) <body = l (int64 i, bool c0, float[n, 8] a) => (bool c1, float[n, 8] b) {
                        c1 = Identity(c0) p = MatMul(a, v) b = Tanh(p) }>""",
        "e:1 meets Loop (node 3): what its subgraph makes of it is left alone",
    ),
    "a Loop that captures": (
        """z = Sub(e0, e0)
           f = Loop(trips, k, z) <body = l (int64 i, bool c0, float[n, 8] a) => (bool c1, float[n, 8] b) {
                        c1 = Identity(c0) b = Add(a, e) }>""",
        "e:1 is read inside a subgraph of Loop (node 4)",
    ),
    "a Scan over rows": (
        """g, f = Scan(start, e) <num_scan_inputs = 1, body = l (float[8] s, float[8] a) => (float[8] u, float[8] b) {
                        u = Add(s, a) b = Identity(u) }>""",
        "e:1 meets Scan (node 3): what its subgraph makes of it is left alone",
    ),
    "a Scan over channels": (
        """g, f = Scan(zero, e) <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
                        body = l (float s, float[n] a) => (float u, float[n] b) { u = Identity(s) b = Add(a, s) }>""",
        "e:1 meets Scan (node 3): what its subgraph makes of it is left alone",
    ),
    "a sequence": (
        "q = SequenceConstruct(e, e0) f = SequenceAt(q, one)",
        "e:1 meets SequenceConstruct (node 3): op is not supported yet",
    ),
    "a sequence of parts": (
        "q = SplitToSequence <axis = 1> (e, four) f = ConcatFromSequence <axis = 1> (q)",
        "e:1 meets SplitToSequence (node 3): op is not supported yet",
    ),
    "an optional": (
        "q = Optional(e) f = OptionalGetElement(q)",
        "e:1 meets Optional (node 3): op is not supported yet",
    ),
}


def around(block: str) -> onnx.ModelProto:
    """Put a block between layers that can be cut: a before it and h behind it, each with a width of its own."""
    return net(
        f"""(float[n, 6] x, bool k) => (float[n, 4] y)
        <float[6, 12] w0, float[12, 8] w1, float[8, 10] w2, float[10, 4] w3, float[8, 8] v, int64 trips = {{3}},
        float[8] start, float zero = {{0.5}}, int64 one = {{0}}, int64 four = {{4}}, float[n, 8] e0, float[n, 8] f> {{
            a = MatMul(x, w0)
            r = Relu(a)
            e = MatMul(r, w1)
            {block}
            h = MatMul(f, w2)
            s = Relu(h)
            y = MatMul(s, w3)
        }}""".replace("float[n, 8] e0, float[n, 8] f>", "float[2, 8] e0>"),
        opset=18,
    )


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_the_graph_around_is_cut_and_the_bodies_stay(name: str) -> None:
    block, reason = BLOCKS[name]
    model = around(block)
    recorded = onnx.helper.make_tensor_value_info("f", onnx.TensorProto.FLOAT, ["n", 8])
    model.graph.value_info.append(recorded)
    assert frozen_reasons(model)["e"] == reason
    assert group_sizes(model) == [10, 12]
    checked = assert_cut_equals_mask(model, powerful="Loop" not in block)
    if "body" in block or "branch" in block:
        assert_bodies_untouched(checked)


def test_a_weight_that_a_body_reads_too_keeps_its_value_there() -> None:
    model = net("""(float[n, 6] x, bool k) => (float[n, 4] y) <float[6, 8] w0, float[8, 8] w1, float[8, 4] w2> {
            a = MatMul(x, w0)
            r = Relu(a)
            e = MatMul(r, w1)
            s = Relu(e)
            f = If(k) <then_branch = t () => (float[8, 8] p) { p = Identity(w1) },
                       else_branch = u () => (float[8, 8] q) { q = Neg(w1) }>
            z = ReduceSum <keepdims = 0> (f)
            h = MatMul(s, w2)
            y = Add(h, z)
        }""")
    assert group_sizes(model) == [8, 8]
    checked = assert_cut_equals_mask(model)
    assert_bodies_untouched(checked)
    assert checked.shape("w1") == (8, 8)
    assert checked.shape("w1_cut1") == (4, 4)


def test_a_body_whose_input_is_called_like_an_outer_tensor_reads_its_own() -> None:
    """The bodies above have inputs called a; the outer `a` is cut for all that."""
    model = around(BLOCKS["a Loop that carries"][0])
    (body,) = subgraphs(model)
    assert [value.name for value in body.input] == ["i", "c0", "a"]
    assert analysed(model).graph.nodes[3].captured == ("v",)
    assert model.graph.node[0].output == ["a"]


def test_a_model_that_lies_wholly_in_an_if_says_so() -> None:
    model = net("""(float[n, 6] x, bool k) => (float[n, 4] y) <float[6, 8] w0, float[8, 4] w1> {
            y = If(k) <then_branch = t () => (float[n, 4] p) { a = MatMul(x, w0) b = Relu(a) p = MatMul(b, w1) },
                       else_branch = s () => (float[n, 4] q) { c = MatMul(x, w0) q = MatMul(c, w1) }>
        }""")
    analysis = analysed(model)
    assert not analysis.groups
    assert analysis.unread == ("If (node 0) is left alone with the 4 layer(s) inside its subgraphs",)


def test_the_squeeze_that_torch_writes_as_an_if_does_not_stop_the_layers_behind_it() -> None:
    model = net("""(float[n, 3, 6, 6] x) => (float[n, 4] y)
        <float[8, 3, 1, 1] w0, float[8, 5] w1, float[5, 4] w2, int64 three = {3}, int64 one = {1}> {
            c = Conv(x, w0)
            g = GlobalAveragePool(c)
            s = Shape(g)
            d = Gather(s, three)
            k = Equal(d, one)
            f = If(k) <then_branch = t () => (float[a, b] p) {
                            ax = Constant <value = int64[2] {2, 3}> ()
                            p = Squeeze(g, ax) },
                       else_branch = u () => (float[a, b] q) { q = Flatten(g) }>
            e = MatMul(f, w1)
            r = Relu(e)
            y = MatMul(r, w2)
        }""")
    assert frozen_reasons(model)["c"] == "g:1 is read inside a subgraph of If (node 5)"
    assert group_sizes(model) == [5]
    assert_cut_equals_mask(model)


def test_a_layer_of_unknown_shape_is_named() -> None:
    model = net(
        """(float[n, 6] x) => (float[n, 4] y) <float[6, 8] w0, float[8, 4] w1> {
            c = MatMul(x, w0)
            s = house.made.Thing(c)
            y = MatMul(s, w1)
        }""",
        domains={"house.made": 1},
    )
    assert analysed(model).unread == (
        "Thing (node 1) is left alone (op of a custom domain), and so is what reads it: MatMul (node 2)",
    )
