"""Models that protobuf parses and nothing can run end with one sentence, and nothing is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import net
from program import call

NET = """(float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
    <float[8, 3, 1, 1] w0, float[8] b0, float[8, 4, 1, 1] w1, float[4, 8, 1, 1] w2> {
        c = Conv(x, w0, b0)
        r = Relu(c)
        d = Conv<group = 2>(r, w1)
        y = Conv(d, w2)
    }"""

Change = Callable[[onnx.ModelProto], Any]


def tensor(change: Callable[[onnx.TensorProto], Any], name: str = "w0") -> Change:
    return lambda model: change(next(held for held in model.graph.initializer if held.name == name))


def filled(value: float, name: str = "w0") -> Change:
    def change(held: onnx.TensorProto) -> None:
        array = onnx.numpy_helper.to_array(held).copy()
        array.ravel()[3] = value
        held.raw_data = array.tobytes()

    return tensor(change, name)


def attribute(name: str, value: Any, node: int = 2) -> Change:
    def change(model: onnx.ModelProto) -> None:
        held = model.graph.node[node].attribute
        kept = [own for own in held if own.name != name]
        del held[:]
        held.extend([*kept, *([] if value is None else [onnx.helper.make_attribute(name, value)])])

    return change


def reshaped(*dims: int) -> Change:
    def change(held: onnx.TensorProto) -> None:
        del held.dims[:]
        held.dims.extend(dims)

    return tensor(change)


def own_data(held: onnx.TensorProto) -> None:
    held.ClearField("raw_data")
    held.data_location = onnx.TensorProto.EXTERNAL
    held.external_data.add(key="location", value="model.onnx")


def _third(model: onnx.ModelProto) -> Any:
    return model.graph.input[0].type.tensor_type.shape.dim[2]


BROKEN: dict[str, tuple[Change, str]] = {
    "short": (tensor(lambda held: setattr(held, "raw_data", held.raw_data[:-3])), "'w0' that does not hold the values"),
    "long": (tensor(lambda held: setattr(held, "raw_data", held.raw_data + b"1234")), "does not hold the values"),
    "negative": (reshaped(-8, -3, 1, 1), "impossible shape [-8, -3, 1, 1]"),
    "huge": (reshaped(1 << 40, 3, 1, 1), "does not hold the values of its shape [1099511627776, 3, 1, 1]"),
    "type": (tensor(lambda held: setattr(held, "data_type", 99)), "a type that onnx does not have (99)"),
    "segments": (tensor(lambda held: held.segment.SetInParent()), "stored in segments"),
    "itself": (tensor(own_data), "would lie in the model itself"),
    "NaN": (filled(np.nan), "'w0', which Conv (node 0) reads, holds NaN or infinity in 1 of its 24 places"),
    "infinite bias": (filled(-np.inf, "b0"), "'b0', which Conv (node 0) reads, holds NaN or infinity in 1 of its 8"),
    "no group": (attribute("group", 0), "its group is 0"),
    "negative groups": (attribute("group", -1), "its group is -1"),
    "odd groups": (attribute("group", 3), "its group is 3, into which 8 and 8 cannot be divided"),
    "wrong type": (attribute("group", "two"), "whose attribute 'group' is of the wrong type"),
    "padded": (attribute("pads", [1 << 40] * 4), "has an axis of more than 67108864 positions"),
    "wide": (lambda model: setattr(_third(model), "dim_value", 1 << 50), "more than 67108864 positions"),
    "new": (lambda model: setattr(model, "ir_version", 999), "It says: "),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_model_is_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    change, words = BROKEN[kind]
    model, output = net(NET), tmp_path / "out.onnx"
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    ended = call(path, "--macs", "70%", "--method", "l1", "-o", output)
    assert ended.code in (1, 2), ended.stderr
    said = ended.sentence if words not in call("inspect", path).stdout else words
    assert words in said
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("name", ["w0", "b0", "kernel_shape"])
def test_a_name_that_is_no_text_is_refused(name: str, tmp_path: Path) -> None:
    model = net(NET)
    attribute("kernel_shape", [1, 1])(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString().replace(name.encode(), b"\xff" * len(name)))
    for command in ((), ("inspect",)):
        ended = call(*command, path)
        assert ended.code == 2
        assert "has a name that is no text in UTF-8" in ended.sentence


def test_a_missing_attribute_is_named(tmp_path: Path) -> None:
    model = net("""(float[n, 3, 6, 6] x) => (float[n, 16, 6, 6] y) <float[8, 3, 1, 1] w0, float[8, 3, 1, 1] w1> {
            c = Conv(x, w0)
            d = Conv(x, w1)
            y = Concat<axis = 1>(c, d)
        }""")
    del model.graph.node[2].attribute[:]
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    ended = call("inspect", path)
    assert ended.code == 2
    assert "(Concat) without the attribute 'axis'" in ended.sentence


def test_outputs_that_overflow_are_named(tmp_path: Path) -> None:
    model = net(NET.replace("y = Conv(d, w2)", "e = Exp(d)\n f = Exp(e)\n g = Exp(f)\n y = Conv(g, w2)"))
    path, data = tmp_path / "model.onnx", tmp_path / "x.npz"
    path.write_bytes(model.SerializeToString())
    np.savez(data, x=np.random.default_rng(0).normal(size=(8, 3, 6, 6)).astype(np.float32) * 9)
    ended = call(path, "--macs", "70%", "--method", "l1", "--data", data)
    assert ended.code == 2
    assert "'y' " in ended.sentence
    assert "NaN or infinity" in ended.sentence
    assert "report" not in ended.sentence


def test_infinite_masks_are_no_weights(tmp_path: Path) -> None:
    model = net("""(float[n, 4, 6] x) => (float[n, 4, 3] y)
        <float[6, 8] w0, float[8, 4] w1, float[4] mask, float[4, 3] w2> {
            c = MatMul(x, w0)
            d = MatMul(c, w1)
            e = Add(d, mask)
            f = Softmax(e)
            y = MatMul(f, w2)
        }""")
    filled(-np.inf, "mask")(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert call(path, "--macs", "70%", "--method", "l1").code == 0
