"""Which layers can be solved for, where their error shows and by which slope; walking a net piece by piece."""

from typing import Any

import numpy as np
import onnx
import pytest
from nets import Array, initial, net, random_feed, run

from onnxprune.graph.model import read_graph
from onnxprune.linear.layers import find_layers
from onnxprune.linear.walk import Walk

CHAIN = """(float[n, 2, 5, 5] x) => (float[n, 3] y)
    <float[4, 2, 3, 3] w0, float[4] s, float[4] b, float[4] m, float[4] v, float[4, 1, 1] k, float[4, 4, 1, 1] w1,
     float[4] b1, float[3, 4] w2> {
        a = Conv<pads = [1, 1, 1, 1]>(x, w0)
        n0 = BatchNormalization(a, s, b, m, v)
        d = Div(n0, k)
        r = Relu(d)
        c = Conv(r, w1, b1)
        t = Sub(r, c)
        q = Relu(t)
        g = GlobalAveragePool(q)
        f = Flatten(g)
        y = Gemm<transB = 1>(f, w2)
    }"""


def tensors(model: onnx.ModelProto, names: list[str], feed: dict[str, Array]) -> dict[str, Array]:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return dict(zip(names, run(copy, feed, optimised=False), strict=True))


def test_the_error_of_a_layer_shows_behind_all_that_is_linear_by_channel() -> None:
    layers, skipped = find_layers(read_graph(net(CHAIN)))
    assert [(layer.output, layer.target, layer.bias) for layer in layers] == [
        ("a", "d", None),
        ("c", "t", "b1"),
        ("y", "y", None),
    ]
    assert skipped == {}


@pytest.mark.parametrize("output", ["a", "c"])
def test_the_slope_is_what_a_change_of_the_output_does_to_the_target(output: str) -> None:
    model = net(CHAIN)
    layer = next(layer for layer in find_layers(read_graph(model))[0] if layer.output == output)
    following = {"a": "n0 = B", "c": "t = Sub"}[output]
    text = CHAIN.replace(f"{output} = Conv", "moved = Conv")
    moved = net(text.replace(following, f"{output} = Add(moved, step) {following}"))
    del moved.graph.initializer[:]
    moved.graph.initializer.extend(model.graph.initializer)
    step = np.random.default_rng(0).normal(size=(1, 4, 1, 1)).astype(np.float32)
    moved.graph.initializer.append(onnx.numpy_helper.from_array(step, "step"))
    feed = random_feed(model)
    change = tensors(moved, [layer.target], feed)[layer.target] - tensors(model, [layer.target], feed)[layer.target]
    expected = np.broadcast_to(step * layer.slope[:, None, None], change.shape)
    assert change == pytest.approx(expected, abs=1e-4)


SUMS = {
    "chain": CHAIN,
    "residual, normalised behind the sum": """(float[n, 3, 5, 5] x) => (float[n, 3, 5, 5] y)
        <float[3, 3, 1, 1] w0, float[3, 3, 1, 1] w1, float[3] b1, float[3] s, float[3] b, float[3] m, float[3] v> {
            a = Conv(x, w0)
            p = Relu(a)
            c = Conv(p, w1, b1)
            t = Sub(p, c)
            u = Add(t, x)
            n0 = BatchNormalization(u, s, b, m, v)
            y = Identity(n0)
        }""",
    "channels last": """(float[n, 5, 3] x) => (float[n, 5, 4] y) <float[3, 4] w, float[4] b, float[1] k> {
            a = MatMul(x, w)
            c = Add(b, a)
            y = Mul(c, k)
        }""",
}  # fmt: skip


@pytest.mark.parametrize("text", SUMS.values(), ids=SUMS)
def test_the_target_is_the_product_by_its_slope_and_what_is_beside_it(text: str) -> None:
    model = net(text)
    feed = random_feed(model)
    layers, _ = find_layers(read_graph(model))
    assert layers
    for layer in layers:
        assert layer.beside is not None
        names = [name for name in (layer.output, layer.target, *layer.beside.names) if name not in feed]
        found = {**feed, **tensors(model, names, feed)}
        lies = [1] * found[layer.output].ndim
        lies[layer.channels] = -1
        bias = np.zeros(1) if layer.bias is None else initial(model, layer.bias)
        slope, constant = layer.slope.reshape(lies), layer.beside.constant.reshape(lies)
        expected = slope * (found[layer.output] - bias.reshape(lies)) + constant
        expected = expected + sum(factor.reshape(lies) * found[name] for name, factor in layer.beside.added)
        assert found[layer.target] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "added",
    ["t = Add(a, k)", "t = Add(a, x)", "z = Relu(x) t = Sub(z, a)"],
    ids=["a constant that differs by place", "a tensor of one column", "a computed one"],
)
def test_what_differs_by_place_has_to_be_looked_at(added: str) -> None:
    model = net(
        f"(float[n, 3, 5, 1] x) => (float[n, 3, 5, 5] y) <float[3, 3, 1, 1] w, float[1, 3, 5, 5] k> {{"
        f"  e = Concat<axis = 3>(x, x, x, x, x) a = Conv(e, w) {added} y = Relu(t) }}"
    )
    (layer,) = find_layers(read_graph(model))[0]
    assert layer.target == "t"
    assert layer.beside is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(float[n, 4] x) => (float[n, 3] y) <float[4, 3] w> { y = Gemm<alpha = 2.0>(x, w) }", "product is scaled"),
        ("(float[4, n] x) => (float[n, 3] y) <float[4, 3] w> { y = Gemm<transA = 1>(x, w) }", "input is transposed"),
        ("(float[n, 4] x) => (float[n, 4] y) <float[4, 4] w> { a = MatMul(x, w) y = MatMul(a, w) }", "is shared"),
        ("(float[4] x) => (float[3] y) <float[4, 3] w> { y = MatMul(x, w) }", "no axis for samples"),
        ("(float[2, n, 4] x) => (float[2, n, 3] y) <float[2, 4, 3] w> { y = MatMul(x, w) }", "weight is not a matrix"),
        ("(float[n, 4] x, float[4, 3] z) => (float[n, 3] y) { y = MatMul(x, z) }", "weight is computed at run time"),
    ],
)  # fmt: skip
def test_layers_that_cannot_be_solved_for_are_named_with_the_reason(text: str, reason: str) -> None:
    _, skipped = find_layers(read_graph(net(text)))
    assert skipped
    assert all(reason in why for why in skipped.values())


@pytest.mark.parametrize("settings", [{}, {"memory": 0}, {"memory": 0, "sizes": dict.fromkeys("artcy", 100.0)}])
def test_a_walk_in_pieces_gives_the_tensors_of_the_whole_run(settings: dict[str, Any]) -> None:
    model = net(CHAIN)
    feeds = [random_feed(model, seed=seed) for seed in range(3)]
    expected = [tensors(model, ["a", "r", "t", "y"], feed) for feed in feeds]
    walk = Walk(model, feeds, **settings)
    for reach, peek in ((["a"], ["r"]), (["r"], ["t"]), (["t"], []), (["y"], [])):
        found = list(walk.run(reach, peek))
        assert len(found) == 3
        for values, right in zip(found, expected, strict=True):
            for name in (*reach, *peek):
                assert values[name] == pytest.approx(right[name], abs=1e-5), name
    assert all(not vars(walk)["_held"][call] for call in range(3)), "nothing is held that nobody reads any more"


def test_weights_changed_on_the_way_count_from_there_on() -> None:
    model = net(CHAIN)
    feed = random_feed(model)
    walk = Walk(model, [feed])
    list(walk.run(["r"]))
    for tensor in model.graph.initializer:
        if tensor.name in ("w0", "w1"):  # w0 was settled before, w1 comes later
            tensor.CopyFrom(onnx.numpy_helper.from_array(0 * onnx.numpy_helper.to_array(tensor), tensor.name))
    (found,) = walk.run(["c"])
    bias = next(onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "b1")
    assert found["c"] == pytest.approx(np.broadcast_to(bias[:, None, None], found["c"].shape))
    (before,) = (tensors(net(CHAIN), ["r"], feed),)
    assert vars(walk)["_held"][0]["r"] == pytest.approx(before["r"], abs=1e-5)
