"""Models whose weights lie outside, in every layout that writers of data files use."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from nets import net

from onnxprune.graph.storage.weights import stored_tensors

TEXT = """(float[n, 1, 8, 8] x) => (float[n, 4] y)
    <float[16, 1, 3, 3] w0, float[16] b0, float[24, 16, 1, 1] w1, float[16] w2, float[1944, 4] w3, float[4] b3> {
        c = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
        r = Relu(c)
        p = MaxPool<kernel_shape = [2, 2], strides = [1, 1], pads = [1, 1, 1, 1]>(r)
        s = Sigmoid(p)
        d = Conv(s, w1)
        e = Relu(d)
        f = Flatten(e)
        g = MatMul(f, w3)
        y = Add(g, b3)
    }"""

NAMES = ("w0", "b0", "w1", "w2", "w3", "b3")

Layout = Callable[[Path], Path]
Places = Mapping[str, tuple[str, int]]  # tensor -> (data file, offset)


def model() -> onnx.ModelProto:
    """Return the net with all its weights inside; `w2` is read by nobody."""
    whole = net(TEXT)
    for tensor in whole.graph.initializer[::2]:
        tensor.data_location = onnx.TensorProto.DEFAULT  # said though it need not be, as some exporters do
    return whole


def outside(whole: onnx.ModelProto, folder: Path, places: Places, *, tail: bytes = b"", name: str = "net.onnx") -> Path:
    """Write `whole` with the tensors in `places` moved to data files, 0xEE between them and `tail` at the end."""
    result = onnx.ModelProto()
    result.CopyFrom(whole)
    contents: dict[str, bytearray] = {}
    for tensor in stored_tensors(result):
        if tensor.name in places:
            location, offset = places[tensor.name]
            content = contents.setdefault(location, bytearray())
            data = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)).raw_data
            content.extend(b"\xee" * (offset + len(data) - len(content)))
            content[offset : offset + len(data)] = data
            tensor.raw_data = data
            onnx.external_data_helper.set_external_data(tensor, location, offset, len(data))
            tensor.ClearField("raw_data")
    for location, content in contents.items():
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        (folder / location).write_bytes(bytes(content) + tail)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(result.SerializeToString())
    return folder / name


def packed(whole: onnx.ModelProto, names: Sequence[str], location: str = "weights.bin", align: int = 1) -> Places:
    """Return places one after the other."""
    sizes = {tensor.name: 4 * int(np.prod(tensor.dims)) for tensor in stored_tensors(whole)}
    places, end = {}, 0
    for name in names:
        end += -end % align
        places[name] = (location, end)
        end += sizes[name]
    return places


def one_file(folder: Path) -> Path:
    """Everything in one file, tightly."""
    return outside(model(), folder, packed(model(), NAMES))


def pages(folder: Path) -> Path:
    """Everything in one file, each tensor on a page of its own, in another order, with a tail."""
    return outside(model(), folder, packed(model(), NAMES[::-1], align=4096), tail=b"tail")


def odd(folder: Path) -> Path:
    """Offsets that suit no type."""
    places = packed(model(), NAMES)
    return outside(model(), folder, {name: (location, offset + 3) for name, (location, offset) in places.items()})


def files(folder: Path) -> Path:
    """A file for each tensor, some in a folder of their own."""
    return outside(model(), folder, {name: (f"data/{name}" if name < "b9" else f"{name}.bin", 0) for name in NAMES})


def mixed(folder: Path) -> Path:
    """Two files, and tensors that stay inside."""
    return outside(model(), folder, {**packed(model(), ["w3", "b0"], "a.bin"), **packed(model(), ["w1"], "b.bin", 64)})


def nodes(folder: Path) -> Path:
    """Weights in Constant nodes."""
    whole = model()
    for name in ("w1", "w3"):
        tensor = next(tensor for tensor in whole.graph.initializer if tensor.name == name)
        whole.graph.node.insert(0, onnx.helper.make_node("Constant", [], [name], value=tensor))
        whole.graph.initializer.remove(tensor)
    return outside(whole, folder, packed(whole, NAMES))


def subgraph(folder: Path) -> Path:
    """Weights in the branches of an If and in a Constant inside."""
    whole = model()
    inner = onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), "inner")
    other = onnx.numpy_helper.from_array(np.full(4, 0.5, dtype=np.float32), "other")
    info = onnx.helper.make_tensor_value_info
    add = onnx.helper.make_node("Add", ["y_raw", "inner"], ["then_y"])
    constant = onnx.helper.make_node("Constant", [], ["other_value"], value=other)
    sub = onnx.helper.make_node("Sub", ["y_raw", "other_value"], ["else_y"])
    branches: dict[str, Any] = {
        "then_branch": onnx.helper.make_graph([add], "then", [], [info("then_y", 1, ["n", 4])], [inner]),
        "else_branch": onnx.helper.make_graph([constant, sub], "else", [], [info("else_y", 1, ["n", 4])]),
    }
    whole.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "condition"))
    whole.graph.node[-1].output[0] = "y_raw"
    whole.graph.node.append(onnx.helper.make_node("If", ["condition"], ["y"], **branches))
    return outside(whole, folder, packed(whole, [*NAMES, "inner", "other"]))


def shared(folder: Path) -> Path:
    """Two tensors that are the same bytes of one file, and checksums that nobody checks."""
    whole = model()
    places = packed(whole, NAMES)
    path = outside(whole, folder, {**places, "w2": places["b0"]})
    small = onnx.load(path, load_external_data=False)
    for tensor in small.graph.initializer:
        tensor.external_data.add(key="checksum", value="0" * 40)
    path.write_bytes(small.SerializeToString())
    return path


def without_lengths(folder: Path) -> Path:
    """Files that say neither offset nor length where the format lets them."""
    path = files(folder)
    small = onnx.load(path, load_external_data=False)
    for tensor in small.graph.initializer:
        del tensor.external_data[1:]
    path.write_bytes(small.SerializeToString())
    return path


LAYOUTS = (one_file, pages, odd, files, mixed, nodes, subgraph, shared, without_lengths)
