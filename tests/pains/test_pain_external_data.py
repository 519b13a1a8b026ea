"""Models whose weights lie in a data file beside them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from nets import net, save_samples
from refusals import refused

import onnxprune
from onnxprune.graph.storage.load import load_model

TEXT = """(float[n, 1, 8, 8] x) => (float[n, 4] y)
    <float[16, 1, 3, 3] w0, float[16] b0, float[576, 4] w1> {
        c = Conv(x, w0, b0)
        r = Relu(c)
        f = Flatten(r)
        y = MatMul(f, w1)
    }"""


def save_outside(folder: Path, location: str = "weights.bin") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "net.onnx"
    onnx.save(net(TEXT), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    if location != "weights.bin":
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            next(entry for entry in tensor.external_data if entry.key == "location").value = location
        path.write_bytes(model.SerializeToString())
    return path


def test_tensorrt_3065_a_model_with_external_data_is_read_pruned_and_runs(tmp_path: Path) -> None:
    """Editing the model lost the way to its data file, and the result did not load."""
    path = save_outside(tmp_path / "in")
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert sorted(before) == ["net.onnx", "weights.bin"]
    save_samples(tmp_path / "data.npz", 16, 1, 8, 8)
    output = tmp_path / "elsewhere" / "small.onnx"
    output.parent.mkdir()
    result = onnxprune.prune(path, tmp_path / "data.npz", "random", ratio=0.5, round_to=1, output=output)
    assert result.equality is not None
    assert result.equality.status == "equal"
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    onnx.checker.check_model(str(output), full_check=True)
    slim = onnx.load(output)
    assert [tuple(tensor.dims) for tensor in slim.graph.initializer] == [(8, 1, 3, 3), (8,), (288, 4)]
    session = ort.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.zeros((3, 1, 8, 8), np.float32)})[0].shape == (3, 4)


@pytest.mark.parametrize("kind", ["above", "absolute", "winding", "link"])
def test_tensorrt_3065_a_path_that_leaves_the_models_folder_is_refused(kind: str, tmp_path: Path) -> None:
    """A model from elsewhere must not read files of this machine: one sentence, with the model's name."""
    secret = save_outside(tmp_path / "secret").parent / "weights.bin"
    location = {
        "above": "../secret/weights.bin",
        "absolute": str(secret),
        "winding": "a/../../secret/weights.bin",
        "link": "link.bin",
    }[kind]
    path = save_outside(tmp_path / "in", location)
    (path.parent / "a").mkdir()
    if kind == "link":
        (path.parent / "link.bin").symlink_to(secret)
    with refused("unreadable-file", "net.onnx") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def save_node_outside(folder: Path, location: str) -> tuple[Path, onnx.TensorProto]:
    """Move the value of a Constant node, and nothing else, into a data file."""
    model = net(TEXT)
    tensor = model.graph.initializer.pop(0)
    outside = onnx.TensorProto()
    outside.CopyFrom(tensor)
    onnx.external_data_helper.set_external_data(outside, location)
    outside.ClearField("raw_data")
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w0"], value=outside))
    (folder / "weights.bin").write_bytes(tensor.raw_data)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return folder / "net.onnx", tensor


def test_tensorrt_3065_external_data_of_constant_nodes_is_read_too(tmp_path: Path) -> None:
    """A tensor inside a node may lie outside as well as an initializer."""
    path, tensor = save_node_outside(tmp_path, "weights.bin")
    read = load_model(path).graph.node[0].attribute[0].t
    assert read.data_location == onnx.TensorProto.DEFAULT
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(read), onnx.numpy_helper.to_array(tensor))


def test_tensorrt_3065_a_constant_node_whose_path_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    """The same refusal wherever the path stands."""
    (tmp_path / "in").mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(16 * 9 * 4))
    path, _ = save_node_outside(tmp_path / "in", "../weights.bin")
    with refused("unreadable-file", "net.onnx"):
        load_model(path)
