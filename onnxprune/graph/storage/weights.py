"""Values that a model does not hold itself but refers to: in data files beside it, or in its own file.

The ModelProto in memory then only says where a value lies (`external_data`), as the format has it. Files are mapped, so
what nobody asks for is never read, and what was read can be let go of again.
"""

import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.errors import InputError
from onnxprune.graph.storage.subgraphs import subgraphs

Array = NDArray[Any]
CHUNK = 1 << 23
"""Bytes that are copied at once from file to file."""

_DATA_FIELDS = ("raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_CHANGED = "onnxprune-changed"  # key of external_data: this value is no more the one in the file, but `changed` has it


@dataclass(frozen=True)
class Reference:
    """Where the value of one tensor lies; `length` None is up to the end of the file."""

    location: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True, eq=False)
class DataFile:
    """A mapped file and the blocks (offset, length) of it that the model refers to."""

    path: Path
    size: int
    mapping: mmap.mmap | None
    blocks: frozenset[Reference] = frozenset()

    def chunks(self, offset: int, length: int) -> Iterator[bytes]:
        """Yield the bytes from `offset` on, keeping none of them in memory."""
        for start in range(offset, offset + length, CHUNK):
            if self.mapping is not None:
                yield self.mapping[start : min(start + CHUNK, offset + length)]
                self.release()

    def release(self) -> None:
        """Let go of the pages that were read; they are read again when they are needed again."""
        if self.mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapping.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, eq=False)
class Weights:
    """The values that a model refers to.

    Attributes:
        folder: what locations are relative to; None where the model refers to nothing.
        own: the name of the model's own file, which is the location of heavy values that it holds itself.
        files: the mapped files, by location.
        changed: new values, or what computes them, of tensors marked by `mark_changed`.
        located: offsets of the heavy values in the own file whose tensors say that they hold them.
    """

    folder: Path | None = None
    own: str = ""
    files: Mapping[str, DataFile] = field(default_factory=dict)
    changed: Mapping[str, Array | Callable[[], Array]] = field(default_factory=dict)
    located: frozenset[int] = frozenset()

    def with_changed(self, values: Mapping[str, Array | Callable[[], Array]]) -> "Weights":
        """Return these with further new values."""
        return replace(self, changed={**self.changed, **values})

    def array(self, tensor: TensorProto) -> Array:
        """Return the value of `tensor`, as a view of the mapped file where its type allows one."""
        if not is_external(tensor):
            return onnx.numpy_helper.to_array(tensor)
        key = _entry(tensor, _CHANGED)
        if key is not None:
            value = self.changed[key]
            return value() if callable(value) else value
        reference = refer(tensor)
        file = self._file(tensor)
        size = plain_size(tensor)
        if size is None or file.mapping is None:
            return onnx.numpy_helper.to_array(self.embedded(tensor))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        flat = np.frombuffer(file.mapping, dtype=dtype, count=math.prod(tensor.dims), offset=reference.offset)
        return flat.reshape(tuple(tensor.dims))

    def embedded(self, tensor: TensorProto) -> TensorProto:
        """Return `tensor` with its value inside."""
        if not is_external(tensor):
            return tensor
        result = TensorProto()
        result.CopyFrom(tensor)
        self.take_in(result, b"".join(self.chunks(tensor)))
        return result

    def take_in(self, tensor: TensorProto, data: bytes) -> None:
        """Give an external tensor `data` to hold itself, and the words about it that it came with."""
        is_located = not is_changed(tensor) and location(tensor) == self.own and refer(tensor).offset in self.located
        clear_value(tensor)
        tensor.raw_data = data
        if is_located:
            tensor.data_location = TensorProto.DEFAULT

    def length(self, tensor: TensorProto) -> int:
        """Return how many bytes the value of an external tensor takes."""
        if is_changed(tensor):
            size = plain_size(tensor)
            return len(_bytes(self.array(tensor))) if size is None else size
        return block(tensor, self._file(tensor).size).length or 0

    def chunks(self, tensor: TensorProto) -> Iterable[bytes | memoryview]:
        """Yield the bytes of an external tensor."""
        if is_changed(tensor):
            yield _bytes(self.array(tensor))
        else:
            yield from self._file(tensor).chunks(refer(tensor).offset, self.length(tensor))

    def release(self) -> None:
        """Let go of all pages that were read."""
        for file in self.files.values():
            file.release()

    def _file(self, tensor: TensorProto) -> DataFile:
        place = location(tensor)
        if place not in self.files:
            raise InputError(
                f"The value of {tensor.name!r} lies in {place!r}, which was not opened with the model; "
                "load the model by its path.",
                "missing-file",
            )
        return self.files[place]


NO_WEIGHTS = Weights()


def stored_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor stored in a model: initializers, attributes of nodes, and those of subgraphs and functions."""
    yield from _in_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from tensors_of(node)


def named_tensors(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """Return the initializers and the values of Constant nodes by the name that nodes read them under."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    found[node.output[0]] = attribute.t
    return found


def tensors_of(node: onnx.NodeProto) -> Iterator[TensorProto]:
    """Yield every tensor stored in a node."""
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (
            *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
            *attribute.sparse_tensors,
        ):
            yield from (sparse.values, sparse.indices)
    for graph in subgraphs(node):
        yield from _in_graph(graph)


def _in_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from tensors_of(node)


def is_external(tensor: TensorProto) -> bool:
    """Whether the value lies outside the tensor."""
    return tensor.data_location == TensorProto.EXTERNAL


def is_changed(tensor: TensorProto) -> bool:
    """Whether the value is no more the one in the file."""
    return is_external(tensor) and _entry(tensor, _CHANGED) is not None


def mark_changed(tensor: TensorProto, key: str) -> None:
    """Say that the new value of an external tensor is found under `key`; where the old one lies is kept for layout."""
    set_entries(tensor, {_CHANGED: key})


def location(tensor: TensorProto) -> str:
    """Return the file of an external tensor, relative to the model's folder."""
    return _entry(tensor, "location") or ""


def refer(tensor: TensorProto) -> Reference:
    """Return where the value of an external tensor lies, or lay before it was changed.

    Raises:
        ValueError: an offset or length that is no natural number.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    length = entries.get("length")
    offset = int(entries.get("offset") or 0)
    size = None if length is None else int(length)
    if offset < 0 or (size is not None and size < 0):
        raise ValueError(f"{tensor.name!r} has a negative offset or length")
    return Reference(entries.get("location", ""), offset, size)


def block(tensor: TensorProto, file_size: int) -> Reference:
    """Return where the value of an external tensor lies in a file of `file_size` bytes, with its length.

    Raises:
        ValueError: the file is shorter than that, or the length is not the one of the tensor's shape and type.
    """
    reference = refer(tensor)
    size = plain_size(tensor)
    length = reference.length
    if length is None:
        length = max(0, file_size - reference.offset) if size is None else size
    if size is not None and length != size:
        raise ValueError(f"{tensor.name!r} takes {size} bytes by its shape and type, and {length} by its length")
    if reference.offset + length > file_size:
        raise ValueError(
            f"{tensor.name!r} ends at byte {reference.offset + length} of {reference.location!r}, "
            f"which is {file_size} bytes long"
        )
    return Reference(reference.location, reference.offset, length)


def plain_size(tensor: TensorProto) -> int | None:
    """Return the bytes of a value whose elements are whole bytes in numpy as in the file; None for other types."""
    if tensor.data_type in _PACKED or tensor.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return None
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError):
        return None
    width = 2 if tensor.data_type == TensorProto.BFLOAT16 else dtype.itemsize
    return math.prod(tensor.dims) * width if dtype.itemsize == width else None


_PACKED = frozenset(
    number
    for name, number in TensorProto.DataType.items()
    if name in ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2") or name.startswith("FLOAT8")
)


def set_entries(tensor: TensorProto, entries: Mapping[str, str]) -> None:
    """Set entries of `external_data`, leaving the others as they are."""
    known = {entry.key: entry for entry in tensor.external_data}
    for key, value in entries.items():
        if key in known:
            known[key].value = value
        else:
            tensor.external_data.add(key=key, value=value)


def drop_changed(tensor: TensorProto) -> None:
    """Take the mark of `mark_changed` away."""
    for index in reversed(range(len(tensor.external_data))):
        if tensor.external_data[index].key == _CHANGED:
            del tensor.external_data[index]


def clear_value(tensor: TensorProto) -> None:
    """Take out the value, and the word of where it lies."""
    for name in (*_DATA_FIELDS, "external_data", "data_location"):
        tensor.ClearField(name)


def _entry(tensor: TensorProto, key: str) -> str | None:
    return next((entry.value for entry in tensor.external_data if entry.key == key), None)


def _bytes(value: Array) -> memoryview:
    """Return the bytes of a value as the format has them."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    if kind in _PACKED:
        return memoryview(onnx.numpy_helper.from_array(value).raw_data)
    flat = np.ascontiguousarray(value).reshape(-1)
    return flat.view(np.uint8).data if flat.size else memoryview(b"")
