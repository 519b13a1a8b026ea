"""What onnxprune writes into a model's metadata and reads again."""

import json
from collections.abc import Mapping
from typing import Any

import onnx

from onnxprune.values.interface import Interface, Narrowed

CLASSES = "onnxprune.classes"
"""The names of the classes that a trimmed classifier has left, as a JSON list in the order of its outputs."""

INTERFACE = "onnxprune.interface"
"""What is left of the inputs and outputs that a cut narrowed, as JSON: by name a list of [axis, size, [places]]."""


PROOF = "onnxprune.proof"
"""What the check showed of the cut: equal, perturbed (with other weights alone) or unproven."""


def classes_left(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the classes that a classifier was trimmed to; empty where it was not, or says no names."""
    names = _read(_entries(model), CLASSES)
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_list else ()


def interface_text(interface: Interface) -> str:
    """Return how metadata say what is left of inputs and outputs."""
    return json.dumps({name: [[n.axis, n.size, list(n.kept)] for n in axes] for name, axes in interface.items()})


def interface_left(metadata: Mapping[str, str]) -> Interface:
    """Return what metadata say to be left of inputs and outputs; empty where they say nothing, or nonsense."""
    try:
        found = {
            name: tuple(Narrowed(int(axis), int(size), tuple(map(int, kept))) for axis, size, kept in axes)
            for name, axes in (_read(metadata, INTERFACE) or {}).items()
        }
    except (ValueError, TypeError, AttributeError, OverflowError):
        return {}
    return found if all(map(_has_sense, found.values())) else {}


def interface_of(model: onnx.ModelProto) -> Interface:
    """Return what the metadata of a model say to be left of its inputs and outputs, see `interface_left`."""
    return interface_left(_entries(model))


def forget_interface(model: onnx.ModelProto) -> None:
    """Take what is said of inputs and outputs out of a model's metadata: what it takes from now on is its own."""
    for place in reversed([place for place, entry in enumerate(model.metadata_props) if entry.key == INTERFACE]):
        del model.metadata_props[place]


def _has_sense(left: tuple[Narrowed, ...]) -> bool:
    """Whether some places of different axes are left, in their order."""
    rising = all(list(each.kept) == sorted({*each.kept}) and 0 < len(each.kept) < each.size for each in left)
    inside = all(each.axis >= 0 and each.kept[0] >= 0 and each.kept[-1] < each.size for each in left if each.kept)
    return rising and inside and len({each.axis for each in left}) == len(left)


def _entries(model: onnx.ModelProto) -> Mapping[str, str]:
    """Return the metadata of a model by key."""
    return {entry.key: entry.value for entry in model.metadata_props}


def _read(metadata: Mapping[str, str], key: str) -> Any:
    """Return what the JSON of an entry says; None where there is none that can be read."""
    try:
        return json.loads(metadata[key]) if key in metadata else None
    except (ValueError, RecursionError):
        return None
