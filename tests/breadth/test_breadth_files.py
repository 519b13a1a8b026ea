"""Unusual files: IR versions, names left out, sparse weights, inputs without a shape, functions."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from nets import (
    analysed,
    assert_cut_equals_mask,
    distance,
    frozen_reasons,
    group_sizes,
    net,
    random_feed,
    run,
    with_weights,
)
from refusals import refused

from onnxprune.graph.inlining import inlined
from onnxprune.graph.storage.load import load_model

TEXT = """(float[n, 6] x) => (float[n, 4] y) <float[6, 8] w0, float[8] b0, float[8, 4] w1> {
        c = MatMul(x, w0)
        d = Add(c, b0)
        r = Relu(d)
        y = MatMul(r, w1)
    }"""


def listed(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """List initializers as graph inputs, as every file of IR version 3 does."""
    for tensor in model.graph.initializer:
        if tensor.name in names:
            model.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    return model


def tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


@pytest.mark.parametrize("ir", range(3, 14))
def test_every_ir_version_with_initializers_listed_as_inputs(ir: int) -> None:
    names = ("w0", "b0", "w1") if ir == 3 else ("b0",)
    model = listed(net(TEXT, opset=8, ir=ir), *names)
    assert group_sizes(model) == [8]
    slim = assert_cut_equals_mask(model).model
    dims = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in slim.graph.input}
    wanted = {"w0": [6, 4], "b0": [4], "w1": [4, 4]}
    assert dims == {"x": [0, 6], **{name: wanted[name] for name in names}}
    assert [value.name for value in slim.graph.input] == ["x", *names]


def test_a_listed_initializer_can_still_be_fed_after_the_cut() -> None:
    model = listed(net(TEXT), "b0")
    checked = assert_cut_equals_mask(model)
    feed = {**random_feed(model), "b0": np.linspace(0, 1, 4, dtype=np.float32)}
    assert distance(run(checked.model, feed)[0], run(checked.model, random_feed(model))[0]) > 0.01


def test_unused_tensors_inputs_and_odd_storage_stay_as_they_are() -> None:
    model = net(TEXT)
    graph = model.graph
    graph.input.append(onnx.helper.make_tensor_value_info("unused", onnx.TensorProto.FLOAT, [2, 2]))
    graph.initializer.append(onnx.helper.make_tensor("spare", onnx.TensorProto.STRING, [2], np.array([b"a", b"b"])))
    graph.initializer.append(onnx.helper.make_tensor("half", onnx.TensorProto.FLOAT16, [2], [1.5, 2.5]))
    for name in ("w0", "b0"):
        kept = tensor(model, name)
        value = onnx.numpy_helper.to_array(kept)
        kept.CopyFrom(onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, value.shape, value.ravel()))
    checked = assert_cut_equals_mask(model)
    assert [t.name for t in checked.model.graph.initializer] == [t.name for t in graph.initializer]
    assert tensor(checked.model, "w0").dims == [6, 4]
    assert len(tensor(checked.model, "w0").raw_data) == 6 * 4 * 4
    assert not tensor(checked.model, "w0").float_data


@pytest.mark.parametrize("dtype", ["float", "float16", "double"])
@pytest.mark.parametrize("raw", [True, False])
def test_every_float_type_in_every_storage(dtype: str, raw: bool) -> None:
    model = net(TEXT.replace("float[", f"{dtype}["))
    for stored in () if raw else model.graph.initializer:
        value = onnx.numpy_helper.to_array(stored)
        stored.CopyFrom(onnx.helper.make_tensor(stored.name, stored.data_type, value.shape, value.ravel()))
        assert not stored.raw_data
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert {t.data_type for t in checked.model.graph.initializer} == {t.data_type for t in model.graph.initializer}


def test_mixed_precision() -> None:
    model = net("""(float[n, 3, 8, 8] x) => (float[n, 5] y) <float16[8, 3, 3, 3] w0, float16[6, 8, 3, 3] w1,
        float[6, 5] w2> {
            h = Cast<to = 10>(x)
            a = Conv(h, w0)
            r = Relu(a)
            b = Conv(r, w1)
            g = GlobalAveragePool(b)
            f = Flatten(g)
            s = Cast<to = 1>(f)
            y = MatMul(s, w2)
        }""")
    assert group_sizes(model) == [6, 8]
    assert_cut_equals_mask(model)


def test_nodes_without_names_and_optional_inputs_and_outputs_left_out() -> None:
    model = net(
        """(float[5, n, 6] x) => (float[n, 4] y) <float[1, 32, 6] w, float[1, 32, 8] r, float[8, 4] w1,
        float high = {0.3}, float[1, n, 8] c0> {
            , h = LSTM<hidden_size = 8>(x, w, r, , , , s)
            q = Clip(h, , high)
            z = Squeeze(q, zero)
            y = MatMul(z, w1)
        }""".replace("float[1, n, 8] c0", "float[1, 8, 8] s, int64[1] zero = {0}")
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_outputs_that_are_an_input_a_weight_or_read_further_are_frozen() -> None:
    model = net("""(float[n, 6] x) => (float[n, 6] x, float[6, 8] w0, float[n, 8] c, float[n, 4] y)
        <float[6, 8] w0, float[8, 8] w1, float[8, 4] w2> {
            c = MatMul(x, w0)
            d = MatMul(c, w1)
            r = Relu(d)
            y = MatMul(r, w2)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 is part of the graph output 'c'"
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_several_inputs_and_outputs() -> None:
    model = net("""(float[n, 6] a, float[n, 3, 8, 8] i, int64[n, 2] t) => (float[n, 4] y, float[n, 5] z)
        <float[6, 8] w0, float[8, 3, 3, 3] w1, float[10, 8] w2, float[8, 4] w3, float[8, 5] w4, float[8, 8] w5> {
            p = MatMul(a, w0)
            c = Conv(i, w1)
            g = GlobalAveragePool(c)
            f = Flatten(g)
            e = Gather(w2, t)
            m = ReduceMean<axes = [1], keepdims = 0>(e)
            s = Sum(p, f, m)
            h = MatMul(s, w5)
            k = Relu(h)
            y = MatMul(k, w3)
            z = MatMul(k, w4)
        }""")
    assert group_sizes(model) == [8, 8]
    assert_cut_equals_mask(model)


def test_a_graph_without_layers_has_no_groups() -> None:
    assert not analysed(net("(float[n, 6] x) => (float[n, 6] y) { y = Relu(x) }")).groups


def test_a_sparse_weight_is_left_alone_and_freezes_what_it_meets() -> None:
    model = net("""(float[n, 6] x) => (float[n, 4] y) <float[6, 8] w0, float[8, 7] w1, float[7, 5] w2, float[5, 4] w3> {
            c = MatMul(x, w0)
            d = MatMul(c, w1)
            e = MatMul(d, w2)
            r = Relu(e)
            y = MatMul(r, w3)
        }""")
    dense = onnx.numpy_helper.to_array(tensor(model, "w1"))
    places = np.flatnonzero(np.abs(dense) > 0.2).astype(np.int64)
    model.graph.sparse_initializer.append(
        onnx.helper.make_sparse_tensor(
            onnx.numpy_helper.from_array(dense.ravel()[places], "w1"), onnx.numpy_helper.from_array(places, ""), [8, 7]
        )
    )
    model.graph.initializer.remove(tensor(model, "w1"))
    assert frozen_reasons(model)["c"] == "w1:0 is part of the sparse tensor 'w1'"
    assert group_sizes(model) == [5]
    assert assert_cut_equals_mask(model).model.graph.sparse_initializer == model.graph.sparse_initializer


IMAGE = """(float[n, c, h, w] x) => (float[n, 4] y) <float[8, 3, 3, 3] w0, float[8, 8, 3, 3] w1, float[8, 4] w2> {
        a = Conv(x, w0)
        r = Relu(a)
        b = Conv(r, w1)
        g = GlobalAveragePool(b)
        f = Flatten(g)
        y = MatMul(f, w2)
    }"""


@pytest.mark.parametrize("shape", [("n", 3, "h", "w"), ("n", "c", "h", "w"), (None, None, None, None), None])
def test_images_of_free_size_or_of_no_recorded_shape(shape: tuple[str | int | None, ...] | None) -> None:
    model = net(IMAGE)
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape))
    assert group_sizes(model) == [8, 8]
    checked = assert_cut_equals_mask(model, feed={"x": random_feed(net(IMAGE), free={"c": 3, "h": 9, "w": 12})["x"]})
    assert checked.analysis.graph.input_specs[0].shape in ((None, 3, None, None), (None, None, None, None))


@pytest.mark.parametrize("shape", [("n", 6), ("n", "features"), (None, None), ("n", "steps", "features")])
def test_rows_of_free_length(shape: tuple[str | None, ...]) -> None:
    model = net(TEXT)
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None))
    assert group_sizes(model) == [8]
    rows = np.random.default_rng(0).normal(size=[3] * (len(shape) - 1) + [6]).astype(np.float32)
    assert_cut_equals_mask(model, feed={"x": rows})


def test_a_classifier_with_ops_of_the_ml_domain() -> None:
    model = net(
        """(float[n, 6] x) => (int64[n] label, float[n, 3] p)
        <float[6, 8] w0, float[8] b0, float[8, 3] w1, int64[3] classes = {4, 5, 6}, int64[1] all = {-1}> {
            s = ai.onnx.ml.Scaler<offset = [0.0], scale = [0.5]>(x)
            c = MatMul(s, w0)
            d = Add(c, b0)
            r = Relu(d)
            e = MatMul(r, w1)
            p = Softmax<axis = -1>(e)
            a = ArgMax<axis = 1, keepdims = 0>(p)
            q = ai.onnx.ml.ArrayFeatureExtractor(classes, a)
            label = Reshape(q, all)
        }""",
        domains={"ai.onnx.ml": 1},
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_ops_of_unknown_domains_freeze_what_they_read() -> None:
    model = net(
        """(float[n, 6] x) => (float[n, 4] y) <float[6, 8] w0, float[8, 8] w1, float[8, 4] w2, float[n, 8] s> {
            c = MatMul(x, w0)
            s = house.made.Thing(c)
            e = MatMul(s, w1)
            f = Relu(e)
            y = MatMul(f, w2)
        }""".replace(", float[n, 8] s>", ">"),
        domains={"house.made": 1},
    )
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, ["n", 8]))
    assert frozen_reasons(model)["c"] == "c:1 meets Thing (node 1): op of a custom domain"
    assert group_sizes(model) == [8]


FUNCTIONS = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
    net (float[n, 3, 8, 8] x) => (float[n, 4] y) {
        a = local.block <pad = 1> (x, w0, b0)
        [second] b = local.block <pad = 0> (a, w1, b1)
        g = GlobalAveragePool(b)
        f = Flatten(g)
        y = local.head (f, w2)
    }
    <domain: "local", opset_import: ["": 17, "local": 1]>
    block <pad> (x, w, b) => (y) {
        c = Conv(x, w, b)
        y = local.act(c)
    }
    <domain: "local", opset_import: ["": 17]>
    act (x) => (y) { s = Sigmoid(x) y = Mul(x, s) }
    <domain: "local", opset_import: ["": VERSION]>
    head (x, w) => (y) { t = Transpose <perm = [1, 0]> (w) y = MatMul(x, t) }"""


def with_functions(version: int = 17) -> onnx.ModelProto:
    text = FUNCTIONS.replace("VERSION", str(version))
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (6, 8, 3, 3), "b1": (6,), "w2": (4, 6)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    return model


def test_layers_inside_of_local_functions_are_read_and_cut() -> None:
    model = with_functions()
    flat, names = inlined(model)
    assert names == ("local.block", "local.act", "local.head")
    assert not flat.functions
    assert flat.graph.input == model.graph.input
    assert flat.graph.output == model.graph.output
    assert flat.graph.initializer == model.graph.initializer
    feed = random_feed(model)
    assert distance(run(flat, feed)[0], run(model, feed)[0]) < 1e-6
    assert group_sizes(flat) == [6, 8]
    assert assert_cut_equals_mask(flat).shape("w2") == (4, 3)


def test_a_model_without_functions_is_the_same_object() -> None:
    model = net(TEXT)
    assert inlined(model) == (model, ())
    assert inlined(model)[0] is model


def calling(*bodies: tuple[str, ...]) -> onnx.ModelProto:
    """Return a model that calls function f0; function number n calls the functions that body n names."""
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("my", 1)]
    model = net("(float[1, 3] x) => (float[1, 3] y) { y = my.f0(x) }", domains={"my": 1})
    for number, calls in enumerate(bodies):
        nodes = [
            onnx.helper.make_node(op, [f"t{place}"], [f"t{place + 1}"], domain="my" if op.startswith("f") else "")
            for place, op in enumerate(calls)
        ]
        model.functions.append(
            onnx.helper.make_function("my", f"f{number}", ["t0"], [f"t{len(calls)}"], nodes, imports)
        )
    return model


def test_functions_that_would_fill_the_memory_are_refused() -> None:
    """Thirty functions that call the next one twice make a thousand million nodes of two kilobytes."""
    doubling = [(f"f{number + 1}",) * 2 for number in range(30)]
    with refused("model-too-large", "1073741824 nodes"):
        inlined(calling(*doubling, ("Relu",)))
    chain = [(f"f{number + 1}",) for number in range(600)]
    with refused("model-too-large", "601 deep"):
        inlined(calling(*chain, ("Relu",)))


def test_defaults_of_a_functions_attributes_are_written_into_its_calls() -> None:
    """onnx's inliner leaves them out, and a LeakyRelu without its slope is another function."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 17, "my": 1]>
        net (float[2, 5] x) => (float[2, 4] y) <float[5, 8] w0, float[8, 4] w1>
        { h = MatMul(x, w0) r = my.outer(h) y = MatMul(r, w1) }
        <domain: "my", opset_import: ["": 17, "my": 1]> outer (a) => (b) { c = my.slope(a) b = my.slope<al = 0.7>(c) }
        <domain: "my", opset_import: ["": 17]> slope <al: float = 0.4> (a) => (b) {
            b = LeakyRelu<alpha: float = @al>(a)
        }
        """
    )
    with_weights(model)
    flat, _ = inlined(model)
    slopes = [node.attribute[0].f for node in flat.graph.node if node.op_type == "LeakyRelu"]
    assert slopes == [pytest.approx(0.4), pytest.approx(0.7)]
    feed = random_feed(model)
    np.testing.assert_allclose(run(flat, feed)[0], run(model, feed)[0], rtol=1e-5)


def test_nodes_whose_domain_is_written_out_are_read() -> None:
    model = net("""(float[n, 5] x) => (float[n, 4] y) <float[5, 8] w0, float[8, 4] w1> {
            h = MatMul(x, w0)
            r = Relu(h)
            y = MatMul(r, w1)
        }""")
    for node in model.graph.node:
        node.domain = "ai.onnx"
    assert group_sizes(model) == [8]


def test_functions_that_call_themselves_stay_as_they_are() -> None:
    model = calling(("f1",), ("f0",))
    assert inlined(model) == (model, ())


def test_functions_of_an_older_opset_are_converted() -> None:
    flat, names = inlined(with_functions(13))
    assert len(names) == 3
    assert group_sizes(flat) == [6, 8]
    assert_cut_equals_mask(flat)


def test_calls_that_were_not_written_out_freeze() -> None:
    model = with_functions()
    assert group_sizes(model) == []
    text = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
        net (float[n, 6] x) => (float[n, 4] y) { c = MatMul(x, w0) d = local.act(c) y = MatMul(d, w1) }
        <domain: "local", opset_import: ["": 17]> act (x) => (y) { s = Sigmoid(x) y = Mul(x, s) }"""
    model = onnx.parser.parse_model(text)
    for name, shape in {"w0": (6, 8), "w1": (8, 4)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    assert frozen_reasons(model)["c"] == "c:1 meets act (node 1): call of a local function"
    assert group_sizes(inlined(model)[0]) == [8]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda graph: graph.node.insert(0, onnx.helper.make_node("Identity", ["x"], ["c"])),
        lambda graph: graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3), "w0")),
        lambda graph: graph.node.insert(0, onnx.helper.make_node("Identity", ["x"], ["x"])),
    ],
)
def test_a_tensor_that_is_defined_twice_is_refused(spoil: Callable[[onnx.GraphProto], None], tmp_path: object) -> None:
    model = net(TEXT)
    spoil(model.graph)
    onnx.save(model, f"{tmp_path}/model.onnx")
    with refused("invalid-model", "twice"):
        load_model(f"{tmp_path}/model.onnx")
