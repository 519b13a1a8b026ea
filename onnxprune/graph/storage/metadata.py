"""What onnxprune writes into a model's metadata and reads again."""

import json

import onnx

CLASSES = "onnxprune.classes"
"""The names of the classes that a trimmed classifier has left, as a JSON list in the order of its outputs."""


def classes_left(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the classes that a classifier was trimmed to; empty where it was not, or says no names."""
    for entry in model.metadata_props:
        if entry.key == CLASSES:
            try:
                names = json.loads(entry.value)
            except ValueError:
                return ()
            is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
            return tuple(names) if is_list else ()
    return ()
