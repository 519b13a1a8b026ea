"""The main job on models that take no plain images: it works, or says in one sentence why it cannot."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import net
from numpy.typing import NDArray
from program import Ended, call

RNG = np.random.default_rng(0)


def normal(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


AUDIO = """(float[n, 1, t] x) => (float[n, 4] y)
    <float[16, 1, 9] w0, float[16] b0, float[24, 16, 5] w1, float[24] b1, float[24, 4] w2> {
        a = Conv<strides = [4]>(x, w0, b0)
        r = Relu(a)
        b = Conv<dilations = [2]>(r, w1, b1)
        q = Relu(b)
        g = GlobalAveragePool(q)
        f = Flatten(g)
        y = MatMul(f, w2)
    }"""
TOKENS = """(int64[n, 12] ids) => (float[n, 3] y)
    <float[50, 16] table, float[16, 24] w0, float[24, 16] w1, float[16, 3] w2> {
        e = Gather(table, ids)
        a = MatMul(e, w0)
        r = Relu(a)
        b = MatMul(r, w1)
        s = Add(b, e)
        m = ReduceMean<axes = [1], keepdims = 0>(s)
        y = MatMul(m, w2)
    }"""
TWO = """(float[n, 6] a, float[n, 3, 8, 8] i) => (float[n, 4] y)
    <float[6, 16] w0, float[16, 3, 3, 3] w1, float[16, 16] w2, float[16, 4] w3> {
        p = MatMul(a, w0)
        c = Conv(i, w1)
        g = GlobalAveragePool(c)
        f = Flatten(g)
        s = Add(p, f)
        r = Relu(s)
        h = MatMul(r, w2)
        k = Relu(h)
        y = MatMul(k, w3)
    }"""
LAST = """(float[n, 16, 16, 3] x) => (float[n, 4] y)
    <float[16, 3, 3, 3] w0, float[16] b0, float[16, 16, 3, 3] w1, float[16, 4] w2> {
        t = Transpose<perm = [0, 3, 1, 2]>(x)
        c = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(t, w0)
        u = Transpose<perm = [0, 2, 3, 1]>(c)
        d = Add(u, b0)
        r = Relu(d)
        v = Transpose<perm = [0, 3, 1, 2]>(r)
        e = Conv(v, w1)
        q = Relu(e)
        m = ReduceMean<axes = [2, 3], keepdims = 0>(q)
        y = MatMul(m, w2)
    }"""
FIRST = """(KIND[n, 3, 16, 16] x) => (TYPE[n, 4] y)
    <TYPE[16, 3, 3, 3] w0, TYPE[16, 16, 3, 3] w1, TYPE[16, 4] w2> {
        BEGIN
        c = Conv(s, w0)
        r = Relu(c)
        e = Conv(r, w1)
        q = Relu(e)
        m = GlobalAveragePool(q)
        l = Flatten(m)
        y = MatMul(l, w2)
    }"""
BYTES = FIRST.replace("KIND", "uint8").replace("TYPE", "float").replace("BEGIN", "s = Cast<to = 1>(x)")
HALF = FIRST.replace("KIND", "float16").replace("TYPE", "float16").replace("BEGIN", "s = Identity(x)")
ROWS = """(TYPE[n, 6] x) => (TYPE[n, 4] y) <TYPE[6, 16] w0, TYPE[16, 16] w1, TYPE[16, 4] w2> {
        c = MatMul(x, w0)
        r = Relu(c)
        e = MatMul(r, w1)
        q = Relu(e)
        y = MatMul(q, w2)
    }"""

PIXELS = RNG.integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
WORKS: dict[str, tuple[str, dict[str, NDArray[np.generic]], str]] = {
    "audio": (AUDIO, {"x": normal(24, 1, 400)}, "npz"),
    "audio as one array": (AUDIO, {"x": normal(24, 1, 400)}, "npy"),
    "tokens": (TOKENS, {"x": RNG.integers(0, 50, (24, 12))}, "npz"),
    "two inputs": (TWO, {"a": normal(24, 6), "i": normal(24, 3, 8, 8)}, "npz"),
    "channels last": (LAST, {"x": PIXELS}, "npz"),
    "bytes": (BYTES, {"x": PIXELS}, "npz"),
    "half precision pixels": (HALF, {"x": PIXELS}, "npz"),
    "half precision arrays": (HALF, {"x": normal(24, 3, 16, 16)}, "npz"),
    "double precision": (ROWS.replace("TYPE", "double"), {"x": normal(24, 6)}, "npz"),
}


def job(folder: Path, model: onnx.ModelProto, arrays: dict[str, NDArray[np.generic]], kind: str = "npz") -> Ended:
    """Save a model and its samples, and prune it."""
    onnx.save(model, folder / "model.onnx")
    samples = folder / f"samples.{kind}"
    np.savez(samples, **arrays) if kind == "npz" else np.save(samples, arrays["x"])  # type: ignore[arg-type]
    return call(folder / "model.onnx", "--data", samples, "--ratio", "0.5", "-o", folder / "out.onnx")


@pytest.mark.parametrize("name", sorted(WORKS))
def test_samples_of_every_kind(name: str, tmp_path: Path) -> None:
    text, arrays, kind = WORKS[name]
    model = net(text)
    ended = job(tmp_path, model, arrays, kind)
    assert ended.code == 0, ended.stderr
    slim = onnx.load(tmp_path / "out.onnx")
    assert slim.graph.input == model.graph.input
    assert slim.graph.output == model.graph.output
    assert [n.SerializeToString() for n in slim.graph.node] == [n.SerializeToString() for n in model.graph.node]
    weights = [{t.name: int(np.prod(t.dims)) for t in found.graph.initializer} for found in (model, slim)]
    assert sum(weights[1].values()) < 0.6 * sum(weights[0].values())


def spoiled(spoil: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = net(ROWS.replace("TYPE", "float"))
    spoil(model)
    return model


def same_names(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = "same"


def test_a_graph_without_a_name_or_shapes_is_pruned_all_the_same(tmp_path: Path) -> None:
    model = net(FIRST.replace("KIND", "float").replace("TYPE", "float").replace("BEGIN", "s = Identity(x)"))
    model.graph.ClearField("name")
    for node in model.graph.node:
        if node.input[0] == "s":
            node.input[0] = "x"
    del model.graph.node[0]
    model.graph.input[0].type.tensor_type.ClearField("shape")
    ended = job(tmp_path, model, {"x": PIXELS})
    assert ended.code == 0, ended.stderr
    slim = onnx.load(tmp_path / "out.onnx")
    assert slim.graph.name == ""
    assert not slim.graph.input[0].type.tensor_type.HasField("shape")


REFUSED: dict[str, tuple[onnx.ModelProto, int, str]] = {
    "an op that nobody registered": (
        net(
            "(float[n, 6] x) => (float[n, 4] y) <float[6, 4] w0> { c = house.made.Thing(x) y = MatMul(c, w0) }",
            domains={"house.made": 1},
        ),
        2,
        "Thing(-1) is not a registered function/op): nothing can be measured or checked without this op",
    ),
    "a type that the runtime has no kernel for": (
        net(ROWS.replace("TYPE", "bfloat16"), opset=22, ir=10),
        2,
        "has type float32: export the model in float32.",
    ),
    "nodes of one name": (spoiled(same_names), 2, "give every node a name of its own, or none."),
    "no shape at all": (
        spoiled(lambda model: model.graph.input[0].type.tensor_type.ClearField("shape")),
        2,
        "Input 'x' has no recorded shape, and no layer that reads it says how many axes it has: export the model with "
        "the shapes of its inputs.",
    ),
    "no layers": (
        net("(float[n, 6] x) => (float[n, 6] y) { y = Relu(x) }"),
        1,
        "Nothing can be pruned: the model has no layers with weights.",
    ),
    "all layers in an If": (
        net("""(float[n, 6] x) => (float[n, 4] y) <float[6, 4] w0, bool k = {1}> {
                y = If(k) <then_branch = t () => (float[n, 4] p) { p = MatMul(x, w0) },
                           else_branch = s () => (float[n, 4] q) { q = MatMul(x, w0) }>
            }"""),
        1,
        "Nothing can be pruned: If (node 0) is left alone with the 2 layer(s) inside its subgraphs; `onnxprune "
        "inspect` says why.",
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_done_is_said_in_one_sentence(name: str, tmp_path: Path) -> None:
    model, code, sentence = REFUSED[name]
    ended = job(tmp_path, model, {"x": normal(24, 6)})
    assert (ended.code, ended.stdout) == (code, "")
    assert sentence in ended.sentence
    assert not (tmp_path / "out.onnx").exists()
    assert call("inspect", tmp_path / "model.onnx").code == 0


def test_inspect_names_the_layers_that_are_in_no_group(tmp_path: Path) -> None:
    onnx.save(REFUSED["all layers in an If"][0], tmp_path / "model.onnx")
    ended = call("inspect", tmp_path / "model.onnx")
    assert "If (node 0) is left alone with the 2 layer(s) inside its subgraphs" in ended.stdout


def test_written_out_functions_are_noted(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17, "local": 1]>
        net (float[n, 6] x) => (float[n, 4] y) { c = MatMul(x, w0) d = local.act(c) y = MatMul(d, w1) }
        <domain: "local", opset_import: ["": 17]> act (x) => (y) { s = Sigmoid(x) y = Mul(x, s) }""")
    for name, shape in {"w0": (6, 16), "w1": (16, 4)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(normal(*shape), name))
    ended = job(tmp_path, model, {"x": normal(24, 6)})
    assert ended.code == 0, ended.stderr
    note = "Calls of 1 local function(s) were written out as their nodes: local.act."
    assert note in ended.stdout
    assert note in call("inspect", tmp_path / "model.onnx").stdout
