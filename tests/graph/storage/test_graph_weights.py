"""Weights that lie outside the model: read when they are asked for, written as they came, refused where they leave."""

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from folders import contents
from large import LAYOUTS, Layout, files, model, one_file, outside, packed, pages
from refusals import refused

from onnxprune.graph.checking import check_structure
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage import load as loading
from onnxprune.graph.storage import protobuf as wire
from onnxprune.graph.storage import save as saving
from onnxprune.graph.storage.load import load_model, open_model
from onnxprune.graph.storage.measures import digest, file_size
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.weights import is_external, stored_tensors


def without_locations(whole: onnx.ModelProto) -> onnx.ModelProto:
    """Take out the words of tensors that they hold their values themselves, which is what holds without them."""
    for tensor in stored_tensors(whole):
        tensor.ClearField("data_location")
    return whole


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are treated like those of gigabytes."""
    monkeypatch.setattr(loading, "MAPPED_FROM", 0)
    monkeypatch.setattr(wire, "HEAVY_BYTES", 32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_nothing_changes_every_file_comes_out_byte_for_byte(layout: Layout, tmp_path: Path) -> None:
    path = layout(tmp_path / "in")
    before = contents(path.parent)
    (tmp_path / "out").mkdir()
    write_model(*open_model(path), tmp_path / "out" / path.name)
    assert contents(tmp_path / "out") == before
    assert contents(path.parent) == before


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("everything_is_large")
def test_heavy_weights_of_the_file_itself_go_out_as_they_came_in(layout: Layout, tmp_path: Path) -> None:
    path = layout(tmp_path / "in")
    whole = tmp_path / "in" / "whole.onnx"
    whole.write_bytes(load_model(path).SerializeToString(deterministic=True))
    for source in (path, whole):
        small, weights = open_model(source)
        assert small.ByteSize() < 4000
        assert weights.own == source.name
        out = tmp_path / source.stem
        out.mkdir()
        write_model(small, weights, out / source.name)
        assert (out / source.name).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_are_those_that_onnx_reads(layout: Layout, tmp_path: Path) -> None:
    path = layout(tmp_path)
    small, weights = open_model(path)
    whole = onnx.load(path)
    expected = {tensor.name: tensor for tensor in stored_tensors(whole)}
    for tensor in stored_tensors(small):
        value = weights.array(tensor)
        np.testing.assert_array_equal(value, onnx.numpy_helper.to_array(expected[tensor.name]))
        assert not is_external(tensor) or not value.flags.owndata, "this is a copy"
    assert without_locations(load_model(path)) == without_locations(whole)
    assert digest(small, weights) == digest(load_model(path)), "a digest does not depend on where weights lie"
    check_structure(small, weights=weights)
    known = read_graph(small, weights).facts
    assert known.shapes == read_graph(load_model(path)).facts.shapes


def test_the_model_in_memory_holds_no_weights_and_its_size_counts_them(tmp_path: Path) -> None:
    small, weights = open_model(files(tmp_path))
    assert small.ByteSize() < 2000
    assert file_size(tmp_path / "net.onnx", weights) == sum(len(data) for data in contents(tmp_path).values())


def test_types_that_numpy_does_not_have_are_read_and_written(tmp_path: Path) -> None:
    whole = onnx.parser.parse_model('<ir_version: 10, opset_import: ["": 21]> g (float[3] x) => (float[3] y) { y = Relu(x) }')  # noqa: E501  # fmt: skip
    for kind in ("BFLOAT16", "FLOAT16", "INT4", "UINT4", "FLOAT8E4M3FN", "BOOL", "DOUBLE", "INT64"):
        number = onnx.TensorProto.DataType.Value(kind)
        whole.graph.initializer.append(onnx.helper.make_tensor(kind, number, [5], [1, 0, 1, 1, 0]))
    result = onnx.ModelProto()
    result.CopyFrom(whole)
    data = b""
    for tensor in result.graph.initializer:
        raw = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)).raw_data
        tensor.ClearField("int32_data")
        tensor.ClearField("int64_data")
        tensor.ClearField("double_data")
        tensor.raw_data = raw
        onnx.external_data_helper.set_external_data(tensor, "d.bin", len(data), len(raw))
        tensor.ClearField("raw_data")
        data += raw
    (tmp_path / "d.bin").write_bytes(data)
    (tmp_path / "t.onnx").write_bytes(result.SerializeToString())
    small, weights = open_model(tmp_path / "t.onnx")
    for tensor, expected in zip(small.graph.initializer, whole.graph.initializer, strict=True):
        wanted = onnx.numpy_helper.to_array(expected)
        assert weights.array(tensor).dtype == wanted.dtype
        assert weights.array(tensor).astype(np.float64).tolist() == wanted.astype(np.float64).tolist()


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.99])
def test_a_large_file_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    data = model().SerializeToString()
    (tmp_path / "net.onnx").write_bytes(data[: int(share * len(data))])
    with refused("unreadable-file", "net.onnx"):
        open_model(tmp_path / "net.onnx")


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("content", [b"This is not a model.\n" * 9, b"\xff" * 99, b"\x3a\xff\xff\xff\xff\xff\xff"])
def test_a_large_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with refused("unreadable-file", "net.onnx"):
        open_model(tmp_path / "net.onnx")


@pytest.mark.usefixtures("everything_is_large")
def test_a_large_model_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "f00d").write_bytes(model().SerializeToString())
    (tmp_path / "net.onnx").symlink_to(tmp_path / "blobs" / "f00d")
    small, weights = open_model(tmp_path / "net.onnx")
    assert (weights.folder, weights.own) == (tmp_path / "blobs", "f00d")
    assert small.ByteSize() < 2000
    assert load_model(tmp_path / "net.onnx") == model()


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    (tmp_path / "weights.bin").rename(tmp_path / "real.bin")
    (tmp_path / "weights.bin").symlink_to("real.bin")
    assert without_locations(load_model(path)) == without_locations(model())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"length": "10"}, "576 bytes by its shape and type, and 10 by its length"),
        ({"offset": "99999999"}, "of 'weights.bin', which is"),
        ({"offset": "-4"}, "negative"),
        ({"offset": "four"}, "four"),
        ({"location": "nowhere.bin"}, "'nowhere.bin'"),
        ({"location": "folder"}, "'folder'"),
        ({"location": "pipe"}, "no ordinary file"),
        ({"location": ""}, "no path inside"),
        ({"location": "circle"}, "circle"),
        ({"location": "/dev/zero"}, "no path inside"),
    ],
)
@pytest.mark.parametrize("name", ["net.onnx", "node.onnx"])
def test_wrong_words_about_data_files_are_refused_in_one_sentence(
    change: dict[str, str], reason: str, name: str, tmp_path: Path
) -> None:
    whole = model()
    if name == "node.onnx":
        tensor = whole.graph.initializer.pop(0)
        whole.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w0"], value=tensor))
    path = outside(whole, tmp_path, packed(whole, ["w0", "b0"]), name=name)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    small = onnx.load(path, load_external_data=False)
    tensor = next(tensor for tensor in stored_tensors(small) if tensor.name == "w0")
    for entry in tensor.external_data:
        entry.value = change.get(entry.key, entry.value)
    path.write_bytes(small.SerializeToString())
    with refused("unreadable-file", name, reason) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)


def test_a_data_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = pages(tmp_path)
    os.truncate(tmp_path / "weights.bin", 5000)
    with refused("unreadable-file", "'w0' ends at byte", "5000 bytes"):
        open_model(path)


def test_a_value_that_was_not_opened_is_named() -> None:
    whole = model()
    whole.graph.initializer[0].raw_data = bytes(4 * 144)
    onnx.external_data_helper.set_external_data(whole.graph.initializer[0], "d.bin")
    with refused("missing-file", "'w0'", "'d.bin'"):
        read_graph(whole)


@pytest.mark.usefixtures("everything_is_large")
def test_a_file_beyond_the_limit_of_the_format_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").write_bytes(model().SerializeToString())
    monkeypatch.setattr(saving, "PROTOBUF_LIMIT", 9000)
    with refused("model-too-large", "out.onnx"):
        write_model(*open_model(tmp_path / "net.onnx"), tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_checksums_are_made_anew(tmp_path: Path) -> None:
    path = files(tmp_path / "in")
    small, weights = open_model(path)
    for tensor in small.graph.initializer:
        tensor.external_data.add(key="checksum", value="old")
    del small.graph.initializer[3:]
    kept = small.graph.initializer[0]
    assert kept.name == "w0"
    # Something else than before: the file has to be written anew.
    weights.files["w0.bin"].__dict__["blocks"] = frozenset()
    (tmp_path / "out").mkdir()
    write_model(small, weights, tmp_path / "out" / "net.onnx")
    written = onnx.load(tmp_path / "out" / "net.onnx", load_external_data=False).graph.initializer
    sums = [next(e.value for e in tensor.external_data if e.key == "checksum") for tensor in written]
    assert sums[0] == hashlib.sha1((tmp_path / "out" / "w0.bin").read_bytes()).hexdigest()
    assert sums[1:] == ["old", "old"]
