"""Calling the inputs and outputs of a model as those of another one, so that both are fed and compared alike."""

from collections.abc import Mapping, Sequence

import onnx

from onnxprune.errors import InputError
from onnxprune.graph.storage.subgraphs import with_inner


def named_alike(model: onnx.ModelProto, like: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return `model` with the names that `like` has for its inputs and outputs, matched by their order.

    Names that both have stay. Outputs are let be where one model has more of them.

    Args:
        model: to be renamed; it is left as it is.
        like: has the names.
        name: what messages call `model`.

    Raises:
        InputError: another number of inputs, or a name that stands for something else in `model`.
    """
    inputs, wanted = _inputs(model), _inputs(like)
    outputs, made = [value.name for value in model.graph.output], [value.name for value in like.graph.output]
    if len(inputs) != len(wanted):
        raise InputError(
            f"'{name}' takes {len(inputs)} input(s) and the first model {len(wanted)}, so they cannot be fed alike; "
            "compare models of the same task.",
            "wrong-model",
        )
    renamed = _renamed(inputs, wanted)
    made_as = _renamed(outputs, made) if len(outputs) == len(made) else {}
    new = [*renamed.values(), *made_as.values()]
    taken = {*inputs, *outputs, *_names(model)} & {*new} | {name for name in new if new.count(name) > 1}
    if taken:
        raise InputError(
            f"'{name}' has other names for its inputs or outputs than the first model, and uses {sorted(taken)[0]!r} "
            "for something else; give both models the same names.",
            "wrong-model",
        )
    return _with_names(model, renamed, made_as) if renamed or made_as else model


def _inputs(model: onnx.ModelProto) -> list[str]:
    """Return the inputs that have to be fed."""
    constant = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in constant]


def _renamed(own: Sequence[str], other: Sequence[str]) -> dict[str, str]:
    """Return the new names of those that only one side has, matched by their order."""
    ours, theirs = ([name for name in one if name not in two] for one, two in ((own, other), (other, own)))
    return dict(zip(ours, theirs, strict=True))


def _names(model: onnx.ModelProto) -> set[str]:
    """Return the names of all values."""
    nodes = {name for node in with_inner(model.graph.node) for name in (*node.input, *node.output)}
    return nodes | {tensor.name for tensor in model.graph.initializer}


def _with_names(model: onnx.ModelProto, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> onnx.ModelProto:
    """Return a copy in which an Identity stands between every new name and the old one."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(onnx.helper.make_node("Identity", [new], [old]) for old, new in inputs.items())
    graph.node.extend(nodes)
    graph.node.extend(onnx.helper.make_node("Identity", [old], [new]) for old, new in outputs.items())
    for values, names in ((graph.input, inputs), (graph.output, outputs)):
        for value in values:
            value.name = names.get(value.name, value.name)
    return found
