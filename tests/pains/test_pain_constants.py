"""Weights that lie in Constant nodes, and initializers with several users."""

import numpy as np
import onnx
import pytest
from nets import assert_cut_equals_mask, group_sizes, net


def with_constant_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move every initializer into a Constant node, as some exporters write them."""
    nodes = [
        onnx.helper.make_node("Constant", [], [tensor.name], name=f"make_{tensor.name}", value=tensor)
        for tensor in model.graph.initializer
    ]
    rest = list(model.graph.node)
    model.graph.ClearField("initializer")
    model.graph.ClearField("node")
    model.graph.node.extend([*nodes, *rest])
    return model


TEXT = """(float[n, 3, 5, 5] x) => (float[n, 4] y)
    <float[8, 3, 3, 3] w0, float[8] b0, float[8] s, float[8] b, float[8] m, float[8] v, float[4, 8] w1, float[4] b1> {
        c = Conv(x, w0, b0)
        d = BatchNormalization(c, s, b, m, v)
        r = Relu(d)
        p = GlobalAveragePool(r)
        f = Flatten(p)
        y = Gemm<transB = 1>(f, w1, b1)
    }"""


def test_onnx2torch_230_weights_in_constant_nodes_are_cut_where_they_lie() -> None:
    """Weights in Constant nodes counted as activations, so the layers had no parameters and were left out."""
    model = with_constant_nodes(net(TEXT))
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    dims = {
        node.output[0]: tuple(node.attribute[0].t.dims)
        for node in checked.model.graph.node
        if node.op_type == "Constant"
    }
    assert dims == {
        "w0": (4, 3, 3, 3), "b0": (4,), "s": (4,), "b": (4,), "m": (4,), "v": (4,), "w1": (4, 4), "b1": (4,),
    }  # fmt: skip
    assert not checked.model.graph.initializer
    assert [node.name for node in checked.model.graph.node] == [node.name for node in model.graph.node]


def test_onnx2torch_230_constant_nodes_give_the_same_cut_as_initializers() -> None:
    """Where a weight lies makes no difference to the numbers."""
    plain = assert_cut_equals_mask(net(TEXT))
    moved = assert_cut_equals_mask(with_constant_nodes(net(TEXT)))
    for node in moved.model.graph.node:
        if node.op_type == "Constant":
            value = onnx.numpy_helper.to_array(node.attribute[0].t)
            np.testing.assert_array_equal(value, plain.value(node.output[0]))


def test_onnx2torch_230_lists_of_numbers_in_constant_nodes_are_weights_too() -> None:
    """`value_floats` is a tensor in all but name."""
    model = net("""(float[n, 3] x) => (float[n, 4] y) <float[3, 4] w0, float[4, 4] w1> {
            b = Constant<value_floats = [0.5, -1.0, 2.0, 3.0]>()
            c = MatMul(x, w0)
            a = Add(c, b)
            r = Relu(a)
            y = MatMul(r, w1)
        }""")
    assert group_sizes(model) == [4]
    assert_cut_equals_mask(model, {"c": np.array([False, True, False, True])})


@pytest.mark.parametrize("other", ["z = MatMul(x, w)", "z = Transpose<perm = [0, 1]>(w)", "z = Identity(w)"])
def test_onnx_4218_other_users_of_an_initializer_keep_the_original_values(other: str) -> None:
    """Writing a new value under the old name changed every other layer that read it."""
    model = net(f"""(float[2, 5] x) => (float[2, 4] y, float[a, 8] z) <float[5, 8] w, float[8, 4] w1> {{
            c = MatMul(x, w)
            y = MatMul(c, w1)
            {other}
        }}""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    whole = onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "w"))
    np.testing.assert_array_equal(checked.value(checked.node("z").input[-1]), whole)
    assert checked.value(checked.node("c").input[1]).shape == (5, 4)
    assert len(checked.result.edits.copies) == 1


def test_onnx_4218_two_layers_with_one_weight_are_cut_apart() -> None:
    """Equal weights that an exporter merged belong to unrelated layers, which stay free of each other."""
    model = net("""(float[n, 8, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 8, 3, 3] w, float[8] b, float[4, 8, 1, 1] w2> {
            c = Conv<pads = [1, 1, 1, 1]>(x, w, b)
            r = Relu(c)
            d = Conv<pads = [1, 1, 1, 1]>(r, w, b)
            y = Conv(d, w2)
        }""")
    assert group_sizes(model) == [8, 8]
    keep = {"c": np.arange(8) < 3, "d": np.arange(8) >= 3}
    checked = assert_cut_equals_mask(model, keep)
    whole = onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "w"))
    np.testing.assert_array_equal(checked.value(checked.node("c").input[1]), whole[:3])
    np.testing.assert_array_equal(checked.value(checked.node("d").input[1]), whole[3:, :3])
    assert list(checked.node("d").input)[1:] != list(checked.node("c").input)[1:]
