"""Constants that are shared, computed, or nodes of their own: none of that may tie unrelated layers."""

import numpy as np
import onnx
import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net

from onnxprune.graph.storage.measures import count_params

CHAIN = """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
    <float[8, 3, 1, 1] w0, float[8, 8, 1, 1] w1, float[8, 8, 1, 1] w2, float[4, 8, 1, 1] w3, float[8] b0 MORE> {
        LINES
        a = Conv(x, w0, b0)
        c = Conv(a, w1, B1)
        d = Conv(c, w2, B2)
        y = Conv(d, w3)
    }"""


def chain(second: str, third: str, lines: str = "", more: str = "") -> onnx.ModelProto:
    text = CHAIN.replace("B1", second).replace("B2", third).replace("LINES", lines).replace("MORE", more)
    return net(text)


def test_a_shared_bias_ties_nothing() -> None:
    apart, shared = chain("b1", "b2", more=", float[8] b1, float[8] b2"), chain("b0", "b0")
    assert group_sizes(shared) == group_sizes(apart) == [8, 8, 8]
    assert_cut_equals_mask(apart)
    checked = assert_cut_equals_mask(shared)
    assert checked.result.edits.copies == {"b0_cut1": "b0", "b0_cut2": "b0"}


def test_an_identity_of_a_vector_ties_nothing() -> None:
    model = chain("i", "j", lines="i = Identity(b0) j = Identity(i)")
    assert group_sizes(model) == [8, 8, 8]
    checked = assert_cut_equals_mask(model)
    assert "Identity" not in {node.op_type for node in checked.model.graph.node}


def test_a_shared_weight_is_cut_once() -> None:
    """A head that runs on two levels of a pyramid: cutting each use its own way would store it twice."""
    model = net("""(float[n, 3, 4, 4] x) => (float[n, 5, 4, 4] y, float[n, 5, 2, 2] z)
        <float[8, 3, 1, 1] w0, float[8, 8, 1, 1] w1, float[8] b1, float[8, 8, 1, 1] w2, float[5, 8, 1, 1] w3> {
            p = Conv(x, w0)
            q = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(p)
            r = Conv(q, w2)
            a = Conv(p, w1, b1)
            b = Relu(a)
            y = Conv(b, w3)
            c = Conv(r, w1, b1)
            d = Relu(c)
            z = Conv(d, w3)
        }""")
    assert group_sizes(model) == [8, 8]
    checked = assert_cut_equals_mask(model)
    assert not checked.result.edits.added
    assert checked.shape("w1") == (4, 4, 1, 1)


def test_a_constant_that_is_alike_for_all_channels_ties_nothing() -> None:
    model = net("""(float[n, 3, 4, 4] x) => (float[n, 5, 4, 4] y)
        <float[2, 3, 1, 1] w0, float[2, 1, 1, 2] blur = {1, 3, 1, 3}, float[2, 2, 1, 1] w1, float[5, 2, 1, 1] w2> {
            a = Conv(x, w0)
            b = Conv<group = 2, auto_pad = "SAME_UPPER">(a, blur)
            c = Conv(b, w1)
            d = Conv<group = 2, auto_pad = "SAME_UPPER">(c, blur)
            y = Conv(d, w2)
        }""")
    assert group_sizes(model) == [2, 2]
    assert_cut_equals_mask(model)


def test_a_shared_weight_ties_nothing_where_one_of_its_uses_is_frozen() -> None:
    model = net("""(float[n, 8, 5, 5] x) => (float[n, 8, 5, 5] y) <float[8, 8, 1, 1] w> {
            a = Conv(x, w)
            b = Relu(a)
            c = Conv(b, w)
            d = Sigmoid(c)
            y = Conv(d, w)
        }""")
    assert group_sizes(model) == [8, 8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w") == (4, 8, 1, 1)
    assert sorted(checked.result.edits.copies) == ["w_cut1", "w_cut2"]


def test_one_tensor_in_two_slots_of_a_node_is_two_uses() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8] s, float[8] v, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0, s)
            d = BatchNormalization(c, s, s, s, v)
            y = Conv(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("s") == (4,)
    assert not checked.result.edits.added


def test_constant_nodes_serve_as_weights() -> None:
    text = """(float[n, 3] x) => (float[n, 2] y) {
            w0 = Constant<value = float[3, 4] {1, 2, -1, 3, 0, 1, 1, -2, 5, 1, 2, 2}>()
            b0 = Constant<value_floats = [0.5, -0.25, 1.0, 2.0]>()
            k = Constant<value_float = 0.5>()
            w1 = Constant<value = float[4, 2] {1, 2, 3, 4, 5, 6, 7, 8}>()
            a = MatMul(x, w0)
            b = Add(a, b0)
            c = Mul(b, k)
            y = MatMul(c, w1)
        }"""
    model = net(text)
    assert group_sizes(model) == [4]
    checked = assert_cut_equals_mask(model)
    assert not checked.model.graph.initializer
    values = {n.output[0]: n.attribute[0] for n in checked.model.graph.node if n.op_type == "Constant"}
    assert list(values["w0"].t.dims) == [3, 2]
    assert values["b0"].name == "value"
    assert values["k"].name == "value_float"


def test_a_weight_computed_from_constants_is_written_down() -> None:
    model = net("""(float[n, 5] x) => (float[n, 4] y)
        <float[8, 5] w0, float[8] b0, float[8] b1, float[8, 4] w1> {
            t = Transpose(w0)
            s = Exp(b0)
            u = Add(s, b1)
            c = MatMul(x, t)
            d = Add(c, u)
            y = MatMul(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert [node.op_type for node in checked.model.graph.node] == ["Transpose", "Add", "MatMul", "Add", "MatMul"]
    assert {tensor.name for tensor in checked.model.graph.initializer} == {"w0", "s_cut1", "b1", "w1"}
    assert checked.shape("w0") == (4, 5)


def test_half_precision_weights_are_cut_where_they_are_stored() -> None:
    model = net("""(float[n, 5] x) => (float[n, 4] y) <bfloat16[8, 5] w0, float16[8] b0, float16[8, 4] w1> {
            f = Cast<to = 1>(w0)
            t = Transpose<perm = [1, 0]>(f)
            b = Cast<to = 1>(b0)
            v = Cast<to = 1>(w1)
            c = MatMul(x, t)
            d = Add(c, b)
            r = Relu(d)
            y = MatMul(r, v)
        }""")
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, [5, 8]))
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert [checked.shape(name) for name in ("w0", "b0", "w1")] == [(4, 5), (4,), (4, 4)]
    assert not checked.result.edits.added
    assert [tensor.data_type for tensor in checked.model.graph.initializer] == [16, 10, 10]


def test_a_moved_weight_whose_readers_need_different_values_is_written_down_for_each() -> None:
    model = net("""(float[n, 5] x, float[5, 3] z) => (float[n, 4] y, float[5, 4] v)
        <float16[8, 5] w0, float[3, 8] w3, float[8, 4] w1, float[8, 4] w2> {
            f = Cast<to = 1>(w0)
            t = Transpose(f)
            c = MatMul(x, t)
            r = Relu(c)
            y = MatMul(r, w1)
            d = MatMul(z, w3)
            s = Add(d, t)
            v = MatMul(s, w2)
        }""")
    assert group_sizes(model) == [8, 8]
    assert_cut_equals_mask(model)


def test_a_moved_weight_that_a_subgraph_or_output_reads_keeps_its_value() -> None:
    model = net("""(float[n, 5] x) => (float[n, 4] y, float[8, 5] f) <float16[8, 5] w0, float[8, 4] w1> {
            f = Cast<to = 1>(w0)
            t = Transpose(f)
            c = MatMul(x, t)
            r = Relu(c)
            y = MatMul(r, w1)
        }""")
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("w0") == (8, 5)


def test_a_computed_weight_that_others_need_stays_beside_the_new_one() -> None:
    model = net("""(float[n, 5] x) => (float[n, 8] z, float[n, 4] y) <float[8, 5] w0, float[8, 4] w1> {
            t = Transpose(w0)
            z = MatMul(x, t)
            c = MatMul(x, t)
            y = MatMul(c, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (8, 5)


def test_a_constant_that_is_a_graph_output_keeps_its_value() -> None:
    model = net("""(float[n, 5] x) => (float[8] b0, float[n, 4] y) <float[5, 8] w0, float[8] b0, float[8, 4] w1> {
            c = MatMul(x, w0)
            d = Add(c, b0)
            y = MatMul(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("b0") == (8,)


def test_a_sparse_weight_freezes() -> None:
    model = net("""(float[n, 3] x) => (float[n, 4] y) <float[3, 8] w0, float[8, 4] w1> {
            c = MatMul(x, w0)
            y = MatMul(c, w1)
        }""")
    dense = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    values = onnx.numpy_helper.from_array(np.asarray([1.0, 2.0], np.float32), "w1")
    indices = onnx.numpy_helper.from_array(np.asarray([0, 9], np.int64), "i")
    model.graph.initializer.remove(dense)
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [8, 4]))
    assert frozen_reasons(model)["c"] == "w1:0 is part of the sparse tensor 'w1'"


def test_every_use_of_a_constant_is_an_axis_of_its_own() -> None:
    analysis = analysed(chain("b0", "b0"))
    uses = {axis.ref.node for axis in analysis.labelled.sizes if axis.ref.is_use and axis.ref.name == "b0"}
    assert len(uses) == 3


def fill_integers(model: onnx.ModelProto) -> None:
    """Give tensors of int8 numbers that are not all 0."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8:
            numbers = np.random.default_rng(1).integers(-9, 9, tuple(tensor.dims)).astype(np.int8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(numbers, tensor.name))


@pytest.mark.parametrize(
    ("arithmetic", "names"),
    [
        ("a = Mul(f, s)", {"q": (6, 4), "s": (1, 4)}),
        ("z = Cast<to = 1>(zero) d = Sub(f, z) a = Mul(d, s)", {"q": (6, 4), "s": (1, 4), "zero": (4,)}),
        ("a = Mul(f, row)", {"q": (6, 4), "row": (6, 1)}),
        ("d = Sub(f, one) m = Mul(one, d) a = Div(m, s)", {"q": (6, 4), "s": (1, 4), "one": ()}),
    ],
)
def test_integers_that_are_multiplied_by_a_scale_stay_integers(
    arithmetic: str, names: dict[str, tuple[int, ...]]
) -> None:
    """As exporters write weight-only quantization: the integers are cut with their scales and zero points."""
    model = net(f"""(float[n, 6] x) => (float[n, 3] y)
        <int8[6, 8] q, float[1, 8] s, int8[8] zero, float[6, 1] row, float one = {{1.0}}, float[8, 3] w> {{
            f = Cast<to = 1>(q)
            {arithmetic}
            h = MatMul(x, a)
            r = Relu(h)
            y = MatMul(r, w)
        }}""")
    fill_integers(model)
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert {name: checked.shape(name) for name in names} == names
    assert {tensor.data_type for tensor in checked.model.graph.initializer if tensor.name == "q"} == {
        onnx.TensorProto.INT8
    }
    assert analysed(model).params() == 6 * 8 + 8 * 3


def blocked(target: str = "32, 2, 32") -> onnx.ModelProto:
    """Weights as integers with a scale for every 32 inputs of a filter, written out by a Cast, Reshapes and a Mul."""
    model = net(f"""(float[n, 16] x) => (float[n, 5] y)
        <float[16, 64] w0, int8[32, 64] q, float[32, 2, 1] s, int64[3] a = {{{target}}}, int64[2] b = {{32, 64}},
         float[32, 5] w2> {{
            h = MatMul(x, w0)
            r = Relu(h)
            c = Cast<to = 1>(q)
            apart = Reshape(c, a)
            m = Mul(apart, s)
            w = Reshape(m, b)
            wt = Transpose<perm = [1, 0]>(w)
            g = MatMul(r, wt)
            k = Relu(g)
            y = MatMul(k, w2)
        }}""")
    fill_integers(model)
    return model


@pytest.mark.parametrize("target", ["32, 2, 32", "0, -1, 32", "-1, 2, 32", "0, 2, 32"])
def test_integers_with_scales_for_blocks_are_cut_by_whole_blocks(target: str) -> None:
    model = blocked(target)
    assert {group.name: group.size for group in analysed(model).prunable} == {"h": 2, "g": 32}
    checked = assert_cut_equals_mask(model)
    assert checked.shape("q") == (16, 32)
    assert checked.shape("s") == (16, 1, 1)
    assert checked.value("q").dtype == np.int8
    assert analysed(model).params() == count_params(model) == 16 * 64 + 64 * 32 + 32 * 5
    assert analysed(model).params(checked.keep) == count_params(checked.model)


def test_a_reshaped_table_of_floats_is_cut_where_it_is_stored() -> None:
    model = net("""(float[n, 6] x) => (float[n, 3] y)
        <float[2, 3, 8] stored, int64[2] flat = {6, 8}, float[8, 3] w> {
            a = Reshape(stored, flat)
            h = MatMul(x, a)
            r = Relu(h)
            y = MatMul(r, w)
        }""")
    assert assert_cut_equals_mask(model).shape("stored") == (2, 3, 4)


def test_integers_count_as_parameters_and_scales_do_not() -> None:
    model = net("""(float[n, 6] x) => (float[n, 8] y) <int8[6, 8] q, float[1, 8] s> {
            f = Cast<to = 1>(q)
            a = Mul(f, s)
            y = MatMul(x, a)
        }""")
    assert count_params(model) == 48


def test_two_weights_of_one_table_of_integers_get_their_own() -> None:
    model = net("""(float[n, 8] x) => (float[n, 3] y)
        <int8[8, 8] q, float[1, 8] s, float[1, 8] t, float[8, 3] w, float[8, 3] v> {
            f = Cast<to = 1>(q)
            a = Mul(f, s)
            b = Mul(f, t)
            g = MatMul(x, a)
            h = MatMul(x, b)
            c = MatMul(g, w)
            d = MatMul(h, v)
            y = Add(c, d)
        }""")
    fill_integers(model)
    assert group_sizes(model) == [8, 8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize(
    "lines",
    [
        "w = Cast<to = 1>(a) v = Cast<to = 1>(a)",
        "t = Transpose(a) s = Add(a, t) w = Cast<to = 1>(s) v = Cast<to = 1>(a)",
        "w = Cast<to = 1>(a) t = Transpose(a) v = Cast<to = 1>(t)",
    ],
)
def test_one_stored_weight_of_two_layers_is_copied_where_they_need_different_cuts(lines: str) -> None:
    model = net(f"""(float[3, 8] x) => (float[3, 4] y) <float16[8, 8] a, float[8, 4] w1> {{
            {lines}
            h = MatMul(x, w)
            r = Relu(h)
            g = MatMul(r, v)
            q = Relu(g)
            y = MatMul(q, w1)
        }}""")
    assert group_sizes(model) == [8, 8]
    assert_cut_equals_mask(model)


def test_a_stored_weight_of_two_layers_counts_once() -> None:
    model = net("""(float[n, 5] x) => (float[n, 4] y) <float[5, 8] a, float[8] s, float[8, 4] w1, float[8, 4] w2> {
            w = Mul(a, s)
            v = Add(a, s)
            h = MatMul(x, w)
            g = MatMul(x, v)
            hh = Relu(h)
            gg = Relu(g)
            b = MatMul(hh, w1)
            z = MatMul(gg, w2)
            y = Add(b, z)
        }""")
    assert_cut_equals_mask(model)
    assert analysed(model).params() <= count_params(model)
