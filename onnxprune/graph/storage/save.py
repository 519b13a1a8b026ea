"""Write a model and its data files in the layout that they came in.

A data file in which nothing changed is copied byte for byte. In another one the tensors keep their order, and each is
aligned at least as it was.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from uuid import uuid4

import onnx
from onnx import TensorProto

from onnxprune.errors import InputError
from onnxprune.graph.storage.protobuf import splice
from onnxprune.graph.storage.weights import (
    Weights,
    block,
    drop_changed,
    is_changed,
    is_external,
    location,
    refer,
    set_entries,
    stored_tensors,
)

PROTOBUF_LIMIT = 1 << 31
"""No model file may be as large as this."""

PAGE, COARSEST = 1 << 12, 1 << 16
"""The usual and the coarsest alignment in data files."""

Pieces = Iterator[bytes | memoryview]


def write_model(model: onnx.ModelProto, weights: Weights, path: Path, names: Mapping[str, str] | None = None) -> None:
    """Write `model` to `path` and its data files beside it, under `names` (location -> location) where these differ.

    Raises:
        InputError: the values that the model holds itself do not fit into one file.
        OSError: a file cannot be written.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    outside: dict[str, list[TensorProto]] = {}
    inside: list[TensorProto] = []
    for tensor in stored_tensors(result):
        if is_external(tensor):
            place = location(tensor)
            (inside if place == weights.own else outside.setdefault(place, [])).append(tensor)
    for place, tensors in outside.items():
        name = (names or {}).get(place, place)
        target = path.parent / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if _unchanged(tensors, weights, place):
            _write(target, weights.files[place].chunks(0, weights.files[place].size))
        else:
            _write_anew(tensors, weights, target)
        for tensor in tensors:
            set_entries(tensor, {"location": name})
    _write_own(result, inside, weights, path)


def locations(model: onnx.ModelProto, weights: Weights) -> list[str]:
    """Return the locations of a model's data files, its own file left out."""
    places = dict.fromkeys(location(tensor) for tensor in stored_tensors(model) if is_external(tensor))
    return [place for place in places if place != weights.own]


def _unchanged(tensors: Sequence[TensorProto], weights: Weights, place: str) -> bool:
    """Whether a data file holds the same as before."""
    if any(is_changed(tensor) for tensor in tensors):
        return False
    file = weights.files[place]
    return {block(tensor, file.size) for tensor in tensors} == file.blocks


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a tensor goes; `stored` is False where another tensor already puts the same block there."""

    tensor: TensorProto
    offset: int
    length: int
    stored: bool


def _write_anew(tensors: Sequence[TensorProto], weights: Weights, target: Path) -> None:
    """Lay the tensors of one data file out, write them and tell them where they are now."""
    places = _lay_out(tensors, weights)
    checksum = _write(target, _contents(places, weights))
    size = max(place.offset + place.length for place in places)
    for place in places:
        keys = {entry.key for entry in place.tensor.external_data}
        entries = {"offset": str(place.offset), "length": str(place.length), "checksum": checksum}
        needed = {"offset"} if place.offset else set()
        if place.offset + place.length < size:
            needed.add("length")
        set_entries(place.tensor, {key: entries[key] for key in entries if key in keys | needed})
        drop_changed(place.tensor)


def _lay_out(tensors: Sequence[TensorProto], weights: Weights) -> list[_Place]:
    """Give every tensor a place; tensors that share an unchanged block go on sharing it."""
    shared: dict[tuple[int, int], int] = {}
    places = []
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: refer(tensor).offset):
        before, length = refer(tensor).offset, weights.length(tensor)
        known = None if is_changed(tensor) else shared.get((before, length))
        if known is not None:
            places.append(_Place(tensor, known, length, stored=False))
            continue
        offset = end + -end % (gcd(before, COARSEST) if before else PAGE)
        places.append(_Place(tensor, offset, length, stored=True))
        end = offset + length
        if not is_changed(tensor):
            shared[before, length] = offset
    return places


def _contents(places: Sequence[_Place], weights: Weights) -> Pieces:
    end = 0
    for place in places:
        if place.stored:
            yield bytes(place.offset - end)
            yield from weights.chunks(place.tensor)
            end = place.offset + place.length


def _write_own(model: onnx.ModelProto, inside: Sequence[TensorProto], weights: Weights, path: Path) -> None:
    """Write the .onnx file, putting the values that belong into it there one by one."""
    marker = uuid4().bytes
    sources = []
    for number, tensor in enumerate(inside):
        source = TensorProto()
        source.CopyFrom(tensor)
        sources.append(source)
        weights.take_in(tensor, marker + number.to_bytes(8, "little"))
    lengths = [weights.length(source) for source in sources]
    content = model.SerializeToString(deterministic=True)
    if len(content) + sum(lengths) >= PROTOBUF_LIMIT:
        raise InputError(
            f"{path.name} would exceed the 2 GB that a .onnx file can hold; store the model with external data first.",
            "model-too-large",
        )

    def pieces() -> Pieces:
        for piece in splice(content, marker, lengths) if sources else [content]:
            if isinstance(piece, int):
                yield from weights.chunks(sources[piece])
            else:
                yield piece

    _write(path, pieces())


def _write(path: Path, pieces: Pieces) -> str:
    """Write a file piece by piece and return its checksum as the format has it (SHA1)."""
    checksum = hashlib.sha1(usedforsecurity=False)
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            checksum.update(piece)
    return checksum.hexdigest()
