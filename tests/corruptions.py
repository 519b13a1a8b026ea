"""Broken files, drawn at random: models and arrays that a run must refuse in a sentence, or take as they are."""

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_INTEGERS = (-1, 0, 1, 2, 7, 255, 1 << 20, (1 << 31) - 1, -(1 << 31), (1 << 62), -(1 << 63), (1 << 63) - 1)
_FLOATS = (float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 0.0, 1e-45)
_NAMES = ("", "\x00", "a\nb", "../../x", "é\u202e", "x" * 5000, "y")


def corrupt_model(rng: Random, model: bytes) -> tuple[str, bytes]:
    """Return the kind of a fault, and a model with it."""
    kind = rng.choice(list(_MODELS))
    return kind, _MODELS[kind](rng, model)


def corrupt_arrays(rng: Random, arrays: dict[str, Any]) -> tuple[str, bytes]:
    """Return the kind of a fault, and an .npz file with it."""
    kind = rng.choice(list(_ARRAYS))
    return kind, _ARRAYS[kind](rng, arrays)


def _flipped(rng: Random, data: bytes) -> bytes:
    """Flip some bits, most of them in front, where the structure lies in small files."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(changed)) if rng.random() < 0.5 else rng.randrange(min(4096, len(changed)))
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncated(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _spliced(rng: Random, data: bytes) -> bytes:
    start, stop = sorted(rng.randrange(len(data)) for _ in range(2))
    piece = data[start : min(stop, start + 4096)]
    return data[:start] + piece * rng.choice((0, 2, 3)) + data[start + len(piece) :]


def _is_repeated(field: FieldDescriptor) -> bool:
    found = getattr(field, "is_repeated", None)  # of newer protobufs
    return bool(found) if found is not None else getattr(field, "label", None) == FieldDescriptor.LABEL_REPEATED


def _read(model: bytes) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(model)


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if _is_repeated(field) else (value,):
                yield from _messages(inner)


def _fields(rng: Random, model: bytes) -> bytes:
    """Change some fields of any message of the model."""
    proto = _read(model)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        message = rng.choice(list(_messages(proto)))
        _change(rng, message, _any_field(rng, message))
    return proto.SerializeToString()


def _any_field(rng: Random, message: Message) -> FieldDescriptor:
    fields: Any = message.DESCRIPTOR.fields
    found: FieldDescriptor = rng.choice(list(fields))
    return found


def _change(rng: Random, message: Message, field: FieldDescriptor) -> None:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        held = getattr(message, field.name)
        if not _is_repeated(field):
            message.ClearField(field.name) if rng.random() < 0.7 else held.SetInParent()
        elif len(held) and rng.random() < 0.5:
            del held[rng.randrange(len(held))]
        elif len(held):
            held.add().CopyFrom(rng.choice(held))
        else:
            held.add()
        return
    value = _drawn(rng, field)
    if not _is_repeated(field):
        setattr(message, field.name, value)
        return
    numbers = getattr(message, field.name)
    if len(numbers) and rng.random() < 0.7:
        numbers[rng.randrange(len(numbers))] = value
    elif len(numbers) and rng.random() < 0.5:
        del numbers[rng.randrange(len(numbers))]
    else:
        numbers.append(value)


def _drawn(rng: Random, field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(_NAMES)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.choice((0, 1, 3, 8, 64)))
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice(_FLOATS)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.choice([number.number for number in field.enum_type.values] if field.enum_type else [0])
    value = rng.choice(_INTEGERS)
    if field.type == FieldDescriptor.TYPE_UINT64:
        return value % (1 << 64)
    return value if field.type == FieldDescriptor.TYPE_INT64 else max(-(1 << 31), min(value, (1 << 31) - 1))


def _wired(rng: Random, model: bytes) -> bytes:
    """Let a node read or make another tensor, or exchange two nodes."""
    proto = _read(model)
    nodes = proto.graph.node
    names = [name for node in nodes for name in (*node.input, *node.output)] + ["", "nothing makes this"]
    node = rng.choice(nodes)
    ends = rng.choice([side for side in (node.input, node.output) if len(side)])
    if rng.random() < 0.8:
        ends[rng.randrange(len(ends))] = rng.choice(names)
    else:
        other = onnx.NodeProto()
        other.CopyFrom(node)
        place = rng.randrange(len(nodes))
        node.CopyFrom(nodes[place])
        nodes[place].CopyFrom(other)
    return proto.SerializeToString()


def _weights(rng: Random, model: bytes) -> bytes:
    """Put odd numbers into a weight, or give it another shape or type."""
    proto = _read(model)
    tensor = rng.choice(proto.graph.initializer)
    how = rng.randrange(4)
    if how == 0 and tensor.data_type == onnx.TensorProto.FLOAT:
        value = onnx.numpy_helper.to_array(tensor).copy()
        value.ravel()[rng.randrange(max(1, value.size)) if value.size else slice(0)] = rng.choice(_FLOATS)
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    elif how == 1 and len(tensor.dims):
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_INTEGERS)
    elif how == 2:
        tensor.data_type = rng.randrange(-1, 30)
    else:
        tensor.raw_data = tensor.raw_data[: rng.randrange(1 + len(tensor.raw_data))]
    return proto.SerializeToString()


def _attributes(rng: Random, model: bytes) -> bytes:
    """Change attributes of nodes: their numbers, their type or their op."""
    proto = _read(model)
    node = rng.choice(proto.graph.node)
    how = rng.randrange(4)
    if how == 0:
        node.op_type = rng.choice(
            ("Loop", "If", "Conv", "Gemm", "Reshape", "Concat", "NoSuchOp", "Split", "LSTM", "Where")
        )
    elif how == 1:
        node.domain = rng.choice(("ai.onnx.ml", "com.microsoft", "nobody.knows", "ai.onnx"))
    elif len(node.attribute):
        attribute = rng.choice(node.attribute)
        for _ in range(2):
            _change(rng, attribute, _any_field(rng, attribute))
    else:
        node.attribute.add(name=rng.choice(("axis", "group", "kernel_shape", "perm")), type=2, i=rng.choice(_INTEGERS))
    return proto.SerializeToString()


def _odd_names(rng: Random, model: bytes) -> bytes:
    """Break the UTF-8 of a name."""
    names = [name.encode() for node in _read(model).graph.node for name in node.output if name]
    return model.replace(rng.choice(names), b"\xff\xfe", rng.choice((1, -1)))


_MODELS: dict[str, Callable[[Random, bytes], bytes]] = {
    "bits": _flipped, "truncated": _truncated, "spliced": _spliced, "fields": _fields, "wires": _wired,
    "weights": _weights, "attributes": _attributes, "names": _odd_names,
}  # fmt: skip


def _written(arrays: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **options, **arrays)
    return file.getvalue()


def _of_bytes(damage: Callable[[Random, bytes], bytes]) -> Callable[[Random, dict[str, Any]], bytes]:
    return lambda rng, arrays: damage(rng, _written(arrays))


def _odd_values(rng: Random, arrays: dict[str, Any]) -> bytes:
    changed = {key: np.array(value, copy=True) for key, value in arrays.items()}
    key = rng.choice(list(changed))
    value = changed[key]
    how = rng.randrange(6)
    if how == 0 and value.dtype.kind == "f":
        value.ravel()[rng.randrange(value.size)] = rng.choice(_FLOATS)
    elif how == 1:
        changed[key] = value.astype(rng.choice(["O", "U4", "M8[s]", "c16", "f2", "u8", "?", "i1"]))
    elif how == 2:
        changed[key] = value[: rng.choice((0, 1, 3))]
    elif how == 3:
        changed[key] = value.reshape(-1) if rng.random() < 0.5 else value[None]
    elif how == 4 and value.dtype.kind in "iu":
        value.ravel()[rng.randrange(value.size)] = rng.choice(_INTEGERS[:-3])
    else:
        changed[rng.choice(("", "x/y", "..", "é", "y", "extra"))] = changed.pop(key)
    return _written(changed)


def _odd_members(rng: Random, arrays: dict[str, Any]) -> bytes:
    """Write members that are no arrays, or whose headers are absurd."""
    file = io.BytesIO()
    with zipfile.ZipFile(
        file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    ) as archive:
        for key, value in arrays.items():
            plain = io.BytesIO()
            np.save(plain, value)
            archive.writestr(f"{key}.npy", plain.getvalue())
        size = rng.choice((0, 10, 1 << 20, 1 << 40, -1))
        header = (
            f"{{'descr': '{rng.choice(('<f4', '|O', '<M8', 'nothing'))}', 'fortran_order': False, 'shape': ({size},)}}"
        )
        text = header.encode() + b" " * 20 + b"\n"
        odd = rng.choice((b"", b"not an array", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text))
        archive.writestr(rng.choice(("x.npy", "extra.npy", "readme.txt", "../up.npy")), odd)
    return file.getvalue()


_ARRAYS: dict[str, Callable[[Random, dict[str, Any]], bytes]] = {
    "bits": _of_bytes(_flipped), "truncated": _of_bytes(_truncated), "spliced": _of_bytes(_spliced),
    "values": _odd_values, "members": _odd_members,
}  # fmt: skip
