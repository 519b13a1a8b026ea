"""The one thing of protobuf's wire format that this package reads itself: where a serialized model holds raw data.

So heavy weights can stay in the file that they came in, and go from file to file, without ever being in memory at once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol

import onnx

HEAVY_BYTES = 1 << 16
"""Raw data of at least so many bytes is left in the file; whatever holds less is not even looked into."""

_RAW_DATA = onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
_DATA_LOCATION = onnx.TensorProto.DESCRIPTOR.fields_by_name["data_location"].number
_LISTS = frozenset(onnx.AttributeProto.DESCRIPTOR.fields_by_name[name].number for name in ("floats", "ints", "strings"))
_LENGTH_DELIMITED = 2
_FIXED_SIZES = {1: 8, 5: 4}


class ByteSource(Protocol):
    """Bytes or a mapped file."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...


Refer = Callable[[int, int, bool], bytes]
"""Makes what a tensor gets for its raw data, of the offset, the length, and whether it says where its data lies."""


def strip(data: ByteSource, refer: Refer) -> bytes:
    """Return the serialized model `data` without heavy raw data: its tensors get `refer(...)` at their end instead.

    Raises:
        ValueError: this is no protobuf message, or it is cut short.
    """
    return b"".join(_strip(data, 0, len(data), onnx.ModelProto.DESCRIPTOR, refer))


def splice(data: bytes, marker: bytes, lengths: Sequence[int]) -> Iterator[bytes | int]:
    """Undo `strip`: yield the serialized model `data` in pieces, a number standing for raw data that belongs there.

    Raw data that is `marker` and a number (of 8 bytes) becomes this number; `lengths` says how long it will be.
    """
    pieces, _ = _splice(data, 0, len(data), onnx.ModelProto.DESCRIPTOR, marker, lengths)
    return iter(pieces)


def _strip(data: ByteSource, start: int, end: int, kind: Any, refer: Refer) -> Iterable[bytes]:
    done = start
    raw: tuple[int, int] | None = None
    located = False
    is_tensor = kind is onnx.TensorProto.DESCRIPTOR
    is_attribute = kind is onnx.AttributeProto.DESCRIPTOR
    for number, begin, payload, stop in _fields(data, start, end):
        if is_attribute and number in _LISTS:
            break  # an attribute holds one thing, and millions of numbers would be read one by one
        located = located or (is_tensor and number == _DATA_LOCATION)
        if stop - payload < HEAVY_BYTES:
            continue
        inner = _messages(kind).get(number)
        if inner is not None:
            content = b"".join(_strip(data, payload, stop, inner, refer))
            replaced = _head(number, len(content)) + content
        elif is_tensor and number == _RAW_DATA:
            raw = payload, stop - payload
            replaced = b""
        else:
            continue
        yield data[done:begin]
        yield replaced
        done = stop
    yield data[done:end]
    if raw is not None:
        yield refer(*raw, located)  # last, as it overrules what the tensor says itself


def _splice(
    data: bytes, start: int, end: int, kind: Any, marker: bytes, lengths: Sequence[int]
) -> tuple[list[bytes | int], int]:
    """Return the pieces of one message and how many bytes they will be."""
    pieces: list[bytes | int] = []
    done, size = start, 0
    for number, begin, payload, stop in _fields(data, start, end):
        if data.find(marker, payload, stop) < 0:
            continue
        inner = _messages(kind).get(number)
        content: list[bytes | int]
        if inner is not None:
            content, length = _splice(data, payload, stop, inner, marker, lengths)
        else:
            place = int.from_bytes(data[payload + len(marker) : stop], "little")
            content, length = [place], lengths[place]
        head = _head(number, length)
        pieces += [data[done:begin], head, *content]
        size += begin - done + len(head) + length
        done = stop
    pieces.append(data[done:end])
    return pieces, size + end - done


@cache
def _messages(kind: Any) -> dict[int, Any]:
    """Return the kinds of the fields of a message that are messages themselves."""
    return {field.number: field.message_type for field in kind.fields if field.message_type is not None}


def _fields(data: ByteSource, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, begin, begin of the content, end) of every field."""
    place = start
    while place < end:
        begin = place
        tag, place = _varint(data, place, end)
        number, wire, payload = tag >> 3, tag & 7, place
        if wire == 0:
            _, place = _varint(data, place, end)
        elif wire in _FIXED_SIZES:
            place += _FIXED_SIZES[wire]
        elif wire == _LENGTH_DELIMITED:
            length, payload = _varint(data, place, end)
            place = payload + length
        else:
            raise ValueError("no protobuf message")
        if place > end:
            raise ValueError("cut short")
        yield number, begin, payload, place


def _varint(data: ByteSource, place: int, end: int) -> tuple[int, int]:
    """Return the number at `place` and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("no protobuf message")


def _head(number: int, length: int) -> bytes:
    return _encoded(number << 3 | _LENGTH_DELIMITED) + _encoded(length)


def _encoded(value: int) -> bytes:
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
