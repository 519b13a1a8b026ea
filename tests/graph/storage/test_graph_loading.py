"""Reading files: what cannot be read is refused in one sentence that names the file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import net
from refusals import refused

from onnxprune.graph.storage.load import load_model
from onnxprune.graph.storage.protobuf import strip

TEXT = "(float[n, 3] x) => (float[n, 4] y) <float[3, 8] w0, float[8, 4] w1> { c = MatMul(x, w0) y = MatMul(c, w1) }"


def test_a_model_comes_back_as_it_was_written(tmp_path: Path) -> None:
    model = net(TEXT)
    onnx.save(model, tmp_path / "model.onnx")
    assert load_model(tmp_path / "model.onnx") == model
    assert load_model(str(tmp_path / "model.onnx")) == model


def test_a_missing_file_is_named() -> None:
    with refused("missing-file", "nowhere.onnx"):
        load_model("nowhere.onnx")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with refused("unreadable-file", str(tmp_path)):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"This is not a model.\n", b"\x00\x01\x02\x03" * 9, b"{}"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with refused("unreadable-file", "model.onnx"):
        load_model(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_model_is_refused(tmp_path: Path, share: float) -> None:
    content = net(TEXT).SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: int(share * len(content))])
    with refused("unreadable-file", "model.onnx"):
        load_model(path)


@pytest.mark.parametrize("field", ["node", "output"])
def test_an_empty_graph_is_refused(tmp_path: Path, field: str) -> None:
    model = net(TEXT)
    model.graph.ClearField(field)
    onnx.save(model, tmp_path / "model.onnx")
    with refused("unreadable-file", "model.onnx"):
        load_model(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["c", "w0"])
def test_a_tensor_defined_twice_is_named(tmp_path: Path, name: str) -> None:
    model = net(TEXT)
    model.graph.node.insert(0, onnx.helper.make_node("Identity", ["x"], [name]))
    onnx.save(model, tmp_path / "model.onnx")
    with refused("invalid-model", f"'{name}' twice"):
        load_model(tmp_path / "model.onnx")


def test_external_weights_are_read_from_beside_the_model(tmp_path: Path) -> None:
    model = net(TEXT)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    loaded = load_model(path)
    for before, after in zip(net(TEXT).graph.initializer, loaded.graph.initializer, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(before), onnx.numpy_helper.to_array(after))
    (tmp_path / "weights.bin").unlink()
    with refused("unreadable-file", "external weights", "model.onnx"):
        load_model(path)


class Counted:
    """Bytes that count how often they are asked for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.reads = data, 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: Any) -> Any:
        self.reads += 1
        return self.data[key]


def test_long_lists_of_numbers_are_not_read_one_by_one() -> None:
    """A forest of decision trees is millions of numbers in attributes; weights behind it are found all the same."""
    numbers = [float(number) for number in range(50_000)]
    forest = onnx.helper.make_node("Trees", ["x"], ["t"], domain="ai.onnx.ml", values=numbers, ids=list(range(50_000)))
    weight = onnx.numpy_helper.from_array(np.ones((200, 200), np.float32), "w")
    layer = onnx.helper.make_node("MatMul", ["t", "w"], ["y"])
    graph = onnx.helper.make_graph([forest, layer], "g", [], [], [weight])
    data = Counted(onnx.helper.make_model(graph).SerializeToString())
    found = []

    def refer(_: int, length: int, located: bool) -> bytes:
        found.append(length)
        return b""

    light = strip(data, refer)
    assert found == [160_000]
    assert data.reads < 1_000
    assert len(light) < len(data) - 150_000
