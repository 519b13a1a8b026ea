"""Shapes in two trials: what is the same in both is fixed, whatever it was computed from."""

from fractions import Fraction

import numpy as np
import onnx
import pytest
from nets import net

from onnxprune.graph.model import read_graph
from onnxprune.graph.shapes.propagate import refold
from onnxprune.graph.storage.detached import HEAVY_ELEMENTS, without_heavy_initializers


def test_free_sizes_differ_between_the_trials_and_equal_names_agree() -> None:
    pair = read_graph(
        net("""(float[n, 3, h, w] x, float[n, h] z) => (float[n, 3, h, w] y, float[n, h] v)
        { y = Relu(x) v = Relu(z) }""")
    ).facts.shape_pair
    assert pair("y") == ((1, 3, 64, 64), (2, 3, 96, 96))
    assert pair("v") == ((1, 64), (2, 96))
    assert pair("nobody") is None


def test_dimensions_without_a_name_or_number_are_free() -> None:
    model = net("(float[n, 3] x) => (float[n, 3] y) { y = Relu(x) }")
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    assert read_graph(model).facts.shape_pair("y") == ((1, 3), (2, 3))


def test_a_product_of_batch_and_heads_is_not_fixed() -> None:
    graph = read_graph(
        net("""(float[n, 4, 6] x) => (float[m, 4, 3] y)
        <int64[4] t = {0, 0, 2, 3}, int64[3] flat = {-1, 4, 3}> {
            h = Reshape(x, t)
            u = Transpose<perm = [0, 2, 1, 3]>(h)
            y = Reshape(u, flat)
        }""")
    )
    assert graph.facts.shape_pair("h") == ((1, 4, 2, 3), (2, 4, 2, 3))
    assert graph.facts.shape_pair("y") == ((2, 4, 3), (4, 4, 3))


def test_a_target_computed_from_shape_is_understood() -> None:
    graph = read_graph(
        net("""(float[n, 3, h, w] x) => (float[n, a, b] y)
        <int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] minus = {-1}> {
            s = Shape(x)
            n = Slice(s, i0, i1)
            c = Slice(s, i1, i2)
            t = Concat<axis = 0>(n, c, minus)
            y = Reshape(x, t)
        }""")
    )
    assert graph.facts.shape_pair("y") == ((1, 3, 64 * 64), (2, 3, 96 * 96))
    known = graph.facts.known["t"]
    np.testing.assert_array_equal(known.fixed, [False, True, True])


def test_what_follows_an_unknown_op_is_unknown() -> None:
    graph = read_graph(
        net("(float[n, 3] x) => (float[n, 3] y) { c = my.Op(x) d = Relu(c) y = Relu(x) }", domains={"my": 1})
    )
    assert graph.facts.shape_pair("c") is None
    assert graph.facts.shape_pair("d") is None
    assert graph.facts.shape_pair("y") == ((1, 3), (2, 3))


def test_a_wrong_node_has_no_shape_and_does_no_harm() -> None:
    graph = read_graph(net("(float[2, 3] x) => (float[2, 3] y) <float[4, 5] w> { c = MatMul(x, w) y = Relu(x) }"))
    assert graph.facts.shape_pair("c") is None
    assert graph.facts.shape_pair("y") == ((2, 3), (2, 3))


def test_sizes_are_computed_anew_for_other_widths() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3, 5] y) <int64[1] two = {2}, int64[1] i0 = {0}> {
            s = Shape(x)
            d = Mul(s, two)
            t = Mul(two, two)
            y = Relu(x)
        }""")
    graph = read_graph(model)
    again = refold(
        model, [node.attrs for node in graph.nodes], graph.facts, {"x": {0: Fraction(1, 1), 1: Fraction(2, 3)}}
    )
    assert again["d"].first.tolist() == [2, 4, 10]
    assert again["d"].second.tolist() == [4, 4, 10]
    assert again["t"].first.tolist() == [4]
    assert graph.facts.known["d"].first.tolist() == [2, 6, 10]


def test_nodes_know_their_readers_titles_and_versions() -> None:
    graph = read_graph(
        net(
            """(float[n, 3] x) => (float[n, 3] y) <float[3] b> {
            [named] c = Add(x, b)
            i = Identity(b)
            j = Identity(i)
            y = Mul(c, c)
        }""",
            opset=14,
        )
    )
    assert [node.title for node in graph.nodes][:2] == ["Add 'named'", "Identity (node 1)"]
    assert graph.nodes[0].version == 14
    assert [node.index for node in graph.readers["b"]] == [0, 1]
    assert [node.index for node in graph.readers["c"]] == [3]
    assert graph.producers["c"].index == 0
    assert graph.inputs == ("x",)
    assert graph.outputs == ("y",)
    assert (graph.root("j"), graph.root("b"), graph.root("c")) == ("b", "b", "c")
    assert (graph.is_leaf("b"), graph.is_leaf("c")) == (True, False)
    assert [(spec.name, spec.shape, spec.dtype) for spec in graph.input_specs] == [("x", (None, 3), "float32")]
    assert [spec.name for spec in graph.output_specs] == ["y"]


@pytest.mark.parametrize("size", [HEAVY_ELEMENTS, HEAVY_ELEMENTS + 1])
def test_a_copy_without_heavy_initializers_has_these_weights_as_inputs(size: int) -> None:
    model = net(f"(float[n, {size}] x) => (float[n, {size}] y) <float[{size}] w> {{ c = Add(x, w) y = Relu(c) }}")
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("c", 1, ["n", size]))
    light = without_heavy_initializers(model)
    heavy = size > HEAVY_ELEMENTS
    assert [value.name for value in light.graph.input] == (["x", "w"] if heavy else ["x"])
    assert len(light.graph.initializer) == (0 if heavy else 1)
    assert list(light.graph.value_info) == list(model.graph.value_info)
    onnx.checker.check_model(light, full_check=True)


def test_recorded_shapes_serve_where_inference_says_nothing() -> None:
    model = net("(float[n, 3] x) => (float[n, 3] y) { c = mine.Custom(x) y = Relu(c) }")
    model.opset_import.add(domain="mine", version=1)
    model.graph.node[0].domain = "mine"
    model.graph.node[0].op_type = "Custom"
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("c", 1, ["n", 3]))
    facts = read_graph(model).facts
    assert facts.shape_pair("c") == ((1, 3), (2, 3))
    assert facts.shape_pair("y") == ((1, 3), (2, 3))


def test_a_free_batch_that_the_graph_contradicts_counts_as_fixed() -> None:
    model = net(
        """(float[n, 4] x) => (float[m, 2] y) <float[4, 2] w>
        { sizes = Constant<value_ints = [1]>() part = Split<axis = 0>(x, sizes) y = MatMul(part, w) }"""
    )
    facts = read_graph(model).facts
    assert facts.shape_pair("part") == ((1, 4), (1, 4))
    assert facts.shape_pair("y") == ((1, 2), (1, 2))


def test_sizes_that_depend_on_the_data_are_free() -> None:
    graph = read_graph(
        net(
            """(float[5, 4] x) => (int64[2, k] y, float[k, 4] z) <int64[1] zero = {0}> {
            y = NonZero(x)
            r, c = Split<axis = 0, num_outputs = 2>(y)
            i = Squeeze(r, zero)
            z = Gather<axis = 0>(x, i)
        }""",
            opset=18,
        )
    )
    first, second = graph.facts.shape_pair("z") or ((), ())
    assert first[1] == second[1] == 4
    assert first[0] != second[0]


@pytest.mark.parametrize(("declared", "fixed"), [("float[4, 6]", True), ("float[3, 6]", False), ("float[6]", None)])
def test_the_branches_of_an_if_say_what_it_makes(declared: str, fixed: bool | None) -> None:
    graph = read_graph(
        net(f"""(bool b, float[4, 6] x, {declared} z) => (float y) {{
            y = If (b) <
                then_branch = first () => (float[4, 6] s) {{ s = Identity(x) }},
                else_branch = second () => ({declared} t) {{ t = Identity(z) }}
            >
        }}""")
    )
    pair = graph.facts.shape_pair("y")
    if fixed is None:
        assert pair is None or len(pair[0]) != 2
    else:
        assert pair is not None
        assert (pair[0][0] == pair[1][0]) is fixed
        assert pair[0][1] == pair[1][1] == 6
