"""The cut model is still the user's graph: what was not cut is byte for byte what it was."""

import numpy as np
import onnx
import pytest
from nets import analysed, assert_cut_equals_mask, group_sizes, net, random_keep

from onnxprune.surgery.cut import cut

TEXT = """(float[batch, 3, height, 8] x) => (float[batch, 4, height, 8] y, float[batch, 3, height, 8] copy)
    <float[8, 3, 3, 3] w0, float[8] b0, float[8] b1, float[6, 8, 1, 1] w1, float[6, 8, 1, 1] w2, float[4, 6, 1, 1] w3,
     float[5] unused, float one = {1}> {
        [first] c = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
        [act] r = Relu(c)
        i = Identity(b1)
        b2 = Add(b1, one)
        nobody = Neg(x)
        [second] d = Conv(r, w1)
        [third] e = Conv(r, w2)
        s = Add(d, e)
        [last] y = Conv(s, w3)
        copy = Identity(x)
    }"""


def decorated() -> onnx.ModelProto:
    """A model with everything in it that a careless export loses."""
    model = net(TEXT)
    model.producer_name, model.producer_version, model.domain = "pytest", "1.2", "com.example"
    model.model_version, model.doc_string = 7, "a model"
    model.metadata_props.add(key="author", value="somebody")
    graph = model.graph
    graph.name, graph.doc_string = "the_graph", "a graph"
    graph.metadata_props.add(key="task", value="testing")
    for node in graph.node:
        node.doc_string = f"makes {node.output[0]}"
        node.metadata_props.add(key="layer", value=node.output[0])
    for tensor in graph.initializer:
        tensor.doc_string = f"weight {tensor.name}"
    for name, width in {"c": 8, "s": 6}.items():
        dims: list[str | int | None] = ["batch", width, "height", 8]
        graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims))
    graph.value_info.append(onnx.helper.make_tensor_value_info("i", onnx.TensorProto.FLOAT, [8]))
    graph.value_info[0].doc_string = "channels"
    graph.value_info[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    graph.quantization_annotation.add(tensor_name="c").quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="one")
    return model


def by_name(tensors: list[onnx.TensorProto]) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in tensors}


def test_names_documentation_and_metadata_stay() -> None:
    model = decorated()
    slim = assert_cut_equals_mask(model, free={"height": 8}).model
    assert [(n.name, n.op_type, n.doc_string, list(n.metadata_props)) for n in slim.graph.node] == [
        (n.name, n.op_type, n.doc_string, list(n.metadata_props)) for n in model.graph.node
    ]
    assert list(slim.graph.metadata_props) == list(model.graph.metadata_props)
    assert list(slim.graph.quantization_annotation) == list(model.graph.quantization_annotation)
    before = by_name(list(model.graph.initializer))
    after = by_name(list(slim.graph.initializer))
    assert list(before) == list(after)
    assert [tensor.doc_string for tensor in after.values()] == [tensor.doc_string for tensor in before.values()]


def test_nodes_that_a_cut_does_not_change_are_byte_equal() -> None:
    model = decorated()
    slim = assert_cut_equals_mask(model, free={"height": 8}).model
    # No number of a plain convolution stands in the node, so not one node changes.
    assert [node.SerializeToString() for node in slim.graph.node] == [
        node.SerializeToString() for node in model.graph.node
    ]


def test_recorded_shapes_change_only_where_widths_did() -> None:
    model = decorated()
    slim = assert_cut_equals_mask(model, free={"height": 8}).model
    infos = {info.name: info for info in slim.graph.value_info}
    assert set(infos) == {info.name for info in model.graph.value_info}
    dims = {name: [d.dim_value or d.dim_param for d in i.type.tensor_type.shape.dim] for name, i in infos.items()}
    assert dims == {"c": ["batch", 4, "height", 8], "s": ["batch", 3, "height", 8], "i": [8]}
    assert infos["c"].doc_string == "channels"
    assert infos["c"].type.tensor_type.shape.dim[0].denotation == "DATA_BATCH"


def test_what_was_unused_before_stays() -> None:
    model = decorated()
    slim = assert_cut_equals_mask(model, free={"height": 8}).model
    assert {"unused", "b1"} <= {tensor.name for tensor in slim.graph.initializer}
    assert {"nobody", "b2", "i"} <= {node.output[0] for node in slim.graph.node}


def test_cutting_nothing_returns_the_same_bytes() -> None:
    model = decorated()
    analysis = analysed(model)
    whole = {group.name: np.ones(group.size, dtype=bool) for group in analysis.prunable}
    for keep in ({}, whole):
        result = cut(analysis, keep)
        assert result.model.SerializeToString() == model.SerializeToString()
        assert result.model is not model
        assert not result.masks
        assert not result.edits.tensors


NUMBERS = """(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
    <float[8, 3, 1, 1] w0, float[4, 4, 1, 1] w1, int64[1] s = {-4}, int64[1] e = {-1}, int64[1] axis = {1},
     float[7, 3, 1, 1] w2, float[4, 3, 1, 1] w3, float[4, 4, 1, 1] w4, float[4, 3, 1, 1] w5,
     int64[4] t = {0, 0, 0, -1}, int64[8] pads = {0, 1, 0, 0, 0, 0, 0, 0}, float[4, 4, 1, 1] w6> {
        c = Conv(x, w0)
        a = Slice(c, s, e, axis)
        p = Pad(a, pads)
        r = Reshape(p, t)
        d = Conv(r, w1)
        f = Conv(x, w2)
        g, h = Split<axis = 1, num_outputs = 2>(f)
        i = Conv(g, w4)
        j = Conv(h, w5)
        k = Add(i, j)
        y = Add(d, k)
    }"""


def test_cutting_nothing_rewrites_no_number() -> None:
    """Bounds that count from the back, zeros and -1 in targets, uneven Splits."""
    model = net(NUMBERS, opset=18)
    analysis = analysed(model)
    assert group_sizes(model) != []
    assert cut(analysis, {}).model.SerializeToString() == model.SerializeToString()
    assert_cut_equals_mask(model)


def test_cutting_one_layer_leaves_the_others_alone() -> None:
    model = net(NUMBERS, opset=18)
    keep = random_keep(analysed(model))
    only = {name: mask for name, mask in keep.items() if name.startswith("f")}
    assert only
    checked = assert_cut_equals_mask(model, only)
    assert set(checked.result.edits.tensors) == {"w2", "w4", "w5"}
    assert set(checked.result.edits.added) == {"g_sizes_cut1"}


def test_the_same_cut_gives_the_same_bytes() -> None:
    first, second = (assert_cut_equals_mask(decorated(), free={"height": 8}).model for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


SHARED = """(float[n, 3, 5, 5] x) => (float[n, 8, 5, 5] y)
    <float[8, 3, 1, 1] w0, float[8, 8, 1, 1] w1, float[8, 8, 1, 1] w2, float[8] bias> {
        a = Conv(x, w0, bias)
        b = Conv(a, w1, bias)
        s = Add(a, b)
        c = Conv(s, w2, bias)
        t = Relu(c)
        y = Conv(t, w2, bias)
    }"""


def test_only_copies_that_end_up_different_are_made_and_the_first_user_keeps_the_name() -> None:
    model = net(SHARED)
    assert group_sizes(model) == [8, 8]
    checked = assert_cut_equals_mask(model)
    edits = checked.result.edits
    # a and b are one group and share the bias still; c needs another one, and the graph output the whole one.
    assert [node.input[2] for node in checked.model.graph.node if node.op_type == "Conv"] == [
        "bias", "bias", "bias_cut1", "bias_cut2",
    ]  # fmt: skip
    assert edits.copies == {"bias_cut1": "bias", "bias_cut2": "bias", "w2_cut1": "w2"}
    assert checked.shape("bias") == (4,)
    assert checked.shape("bias_cut2") == (8,)


def test_a_copys_name_never_meets_one_that_is_taken() -> None:
    model = net(SHARED.replace("a = ", "bias_cut1 = ").replace("(a,", "(bias_cut1,"))
    checked = assert_cut_equals_mask(model)
    assert set(checked.result.edits.copies) >= {"bias_cut2", "bias_cut3"}


def listed_as_inputs(text: str, opset: int = 8) -> onnx.ModelProto:
    """A model of IR version 3, where every initializer stands among the graph inputs."""
    model = net(text, opset=opset, ir=3)
    for tensor in model.graph.initializer:
        info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(info)
    onnx.checker.check_model(model, full_check=True)
    return model


def input_dims(model: onnx.ModelProto) -> dict[str, list[int]]:
    return {info.name: [d.dim_value for d in info.type.tensor_type.shape.dim] for info in model.graph.input}


def test_initializers_listed_as_inputs_get_their_new_dims() -> None:
    model = listed_as_inputs(SHARED, opset=7)
    assert group_sizes(model) == [8, 8]
    slim = assert_cut_equals_mask(model).model
    stored = {tensor.name: list(tensor.dims) for tensor in slim.graph.initializer}
    dims = input_dims(slim)
    dims.pop("x")
    assert dims == stored
    assert len(dims) == 7


def test_a_dead_initializer_is_no_longer_an_input() -> None:
    model = listed_as_inputs("""(float[n, 5] x) => (float[n, 4] y) <float[5, 8] w0, float[8, 4] w1> {
            t = Neg(w0)
            c = MatMul(x, t)
            y = MatMul(c, w1)
        }""")
    slim = assert_cut_equals_mask(model).model
    assert set(input_dims(slim)) == {"x", "w1", "t_cut1"}


def test_what_the_cut_leaves_unread_is_removed_and_nothing_else() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3, 4] y)
        <float[5, 8] w0, float[8, 4] w1, int64 last = {-1}, int64 idle = {-1}, float[8] k> {
            idle_shape = Shape(x)
            idle_width = Gather(idle_shape, idle)
            c = MatMul(x, w0)
            s = Shape(c)
            w = Gather(s, last)
            f = Cast<to = 1>(w)
            r = Sqrt(f)
            d = Div(c, r)
            y = MatMul(d, w1)
        }""")
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, []))
    slim = assert_cut_equals_mask(model).model
    assert [node.output[0] for node in slim.graph.node] == ["idle_shape", "idle_width", "c", "d", "y"]
    assert {tensor.name for tensor in slim.graph.initializer} == {"w0", "w1", "idle", "k", "r_cut1"}
    assert not slim.graph.value_info


@pytest.mark.parametrize("more", ["", "q = Identity(b)"])
def test_recorded_shapes_of_computed_constants_follow(more: str) -> None:
    model = net(f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8] b, float[8, 8, 1, 1] w1, float[4, 8, 1, 1] w2, int64[1] one = {{1}},
         int64[1] two = {{2}}, int64[2] space = {{1, 2}}> {{
            c = Conv(x, w0, b)
            i = Identity(b)
            d = Conv(c, w1, i)
            e = Add(c, d)
            s = Shape(e)
            k = Slice(s, one, two)
            z = ConstantOfShape(k)
            z3 = Unsqueeze(z, space)
            f = Add(e, z3)
            {more}
            y = Conv(f, w2)
        }}""")
    for name, dims in {"i": [8], "z": [8], "z3": [8, 1, 1], "k": [1]}.items():
        kind = onnx.TensorProto.INT64 if name == "k" else onnx.TensorProto.FLOAT
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, dims))
    assert group_sizes(model) == [8]
    slim = assert_cut_equals_mask(model).model
    recorded = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in slim.graph.value_info}
    assert recorded == {"i": [4], "z": [4], "z3": [4, 1, 1], "k": [1]}


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_other_float_types_keep_their_type(kind: str) -> None:
    to = {"float16": 10, "double": 11}[kind]
    model = net(f"""(float[n, 5] x) => (float[n, 4] y) <{kind}[5, 8] w0, {kind}[8] b, {kind}[8, 4] w1> {{
            h = Cast<to = {to}>(x)
            c = MatMul(h, w0)
            a = Add(c, b)
            d = MatMul(a, w1)
            y = Cast<to = 1>(d)
        }}""")
    slim = assert_cut_equals_mask(model, free={"n": 16}).model
    assert {tensor.data_type for tensor in slim.graph.initializer} == {to}


def test_values_stored_in_typed_fields_are_cut_too() -> None:
    model = net("""(float[n, 2] x) => (float[n, 2] y)
        <float[2, 4] w0 = {1, 2, 3, 4, 5, 6, 7, 8}, float[4, 2] w1 = {1, 2, 3, 4, 5, 6, 7, 8}> {
            c = MatMul(x, w0)
            y = MatMul(c, w1)
        }""")
    assert model.graph.initializer[0].float_data
    slim = assert_cut_equals_mask(model, {"c": np.array([True, False, False, True])}).model
    assert not slim.graph.initializer[0].float_data
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(slim.graph.initializer[0]), [[1, 4], [5, 8]])
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(slim.graph.initializer[1]), [[1, 2], [7, 8]])


def test_attributes_keep_their_order_and_only_the_number_changes() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8, 1, 3, 3] w1, float[4, 8, 1, 1] w2> {
            c = Conv(x, w0)
            d = Conv<pads = [1, 1, 1, 1], group = 8, dilations = [1, 1]>(c, w1)
            y = Conv(d, w2)
        }""")
    model.graph.node[1].attribute[1].doc_string = "one group per channel"
    checked = assert_cut_equals_mask(model)
    attributes = checked.node("d").attribute
    assert [attribute.name for attribute in attributes] == ["pads", "group", "dilations"]
    assert checked.attribute("d", "group") == 4


def test_a_weight_read_by_a_subgraph_is_not_cut_there() -> None:
    model = net("""(float[n, 3] x, bool q) => (float[n, 4] y, float[n, 8] z)
        <float[3, 8] w0, float[8, 4] w1> {
            c = MatMul(x, w0)
            y = MatMul(c, w1)
            z = If(q) <then_branch = yes () => (float[n, 8] t) { t = MatMul(x, w0) },
                       else_branch = no () => (float[n, 8] u) { u = Gemm(x, w0) }>
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (3, 8)
    assert checked.result.edits.copies == {"w0_cut1": "w0"}
