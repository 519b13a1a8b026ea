"""From a graph to the steps left to run: what is known beforehand is a constant, what nobody reads is not run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from onnxprune.errors import InputError
from onnxprune.finetune.interpreter.ops.site import OPERATORS, ByMode, Run, Site, UnsupportedError
from onnxprune.finetune.interpreter.refused import REFUSED
from onnxprune.finetune.interpreter.running import Running, with_names
from onnxprune.graph.model import Graph, Node

Array = NDArray[Any]

SIZES: Mapping[str, frozenset[int]] = {
    "ConstantOfShape": frozenset({0}),
    "CumSum": frozenset({1}),
    "Expand": frozenset({1}),
    "OneHot": frozenset({1}),
    "Pad": frozenset({1, 2, 3}),
    "Range": frozenset({0, 1, 2}),
    "Reshape": frozenset({1}),
    "Resize": frozenset({1, 2, 3}),
    "Slice": frozenset({1, 2, 3, 4}),
    "Split": frozenset({1}),
    "Squeeze": frozenset({1}),
    "Tile": frozenset({1}),
    "TopK": frozenset({1}),
    "Trilu": frozenset({1}),
    "Unsqueeze": frozenset({1}),
    "Upsample": frozenset({1}),
}
"""Inputs that are read as numbers, by op; so are the axes of reductions."""

HOST = " (in host memory)"
"""Behind the name of a constant where sizes are computed with it; elsewhere it may lie with the data as well."""


@dataclass(frozen=True, eq=False)
class Step:
    """One node as it is run.

    Attributes:
        node: the node.
        run: computes it.
        reads, makes: places of its inputs and outputs; 0 is the place of what is left out.
        moved: which of the inputs come from host memory and are wanted where the data are.
        drops: places that nobody reads any more.
        by_mode: whether `run` is told first whether statistics of the batch are wanted.
    """

    node: Node
    run: Run
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    moved: tuple[int, ...] = ()
    drops: tuple[int, ...] = ()
    by_mode: bool = False


@dataclass(frozen=True, eq=False)
class Program:
    """The steps of a graph.

    Attributes:
        steps: in the order of the file.
        places: number of places for values, the empty one included.
        inputs, outputs: places of the graph's.
        values: places of parameters and constants by name.
        constants: the values that are read and never trained, by name.
        host: constants that stay in host memory, sizes and axes, by name with `HOST` behind it.
    """

    steps: tuple[Step, ...]
    places: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    values: Mapping[str, int]
    constants: Mapping[str, Array]
    host: frozenset[str]


def make_program(graph: Graph, trained: Sequence[str], running: Sequence[Running]) -> Program:
    """Return the steps of `graph`; constants in `trained` may change from run to run, and so may those in `running`.

    Raises:
        InputError: nodes that cannot be trained through; all of them are named.
    """
    varying = _varying(graph, frozenset(trained))
    known = {
        name: value.first
        for name, value in graph.facts.known.items()
        if name not in varying and (value.is_constant or bool(value.fixed.all())) and value.first.dtype != object
    }
    known |= {found.name: graph.facts.known[found.source].first for found in running}
    nodes = _needed(graph, with_names(graph.nodes, running), {*known, *trained})
    host = _host_made(nodes, known)
    built = _build_all(graph, nodes, known)
    place: dict[str, int] = {}

    def at(name: str) -> int:
        return place.setdefault(name, len(place) + 1) if name else 0

    for name in (*graph.inputs, *trained):
        at(name)
    last = {name: number for number, node in enumerate(nodes) for name in node.inputs if name}
    kept = {*graph.outputs, *graph.inputs, *trained, *known}
    steps, constants, in_host = [], {name: known[name] for name in graph.outputs if name in known}, set()
    for number, (node, run) in enumerate(zip(nodes, built, strict=True)):
        labels = [
            f"{name}{HOST}" if name in known and _read_in_host(node, slot, host) else name
            for slot, name in enumerate(node.inputs)
        ]
        constants |= {label: known[name] for label, name in zip(labels, node.inputs, strict=True) if name in known}
        in_host |= {label for label in labels if label.endswith(HOST)}
        reads = tuple(at(label) for label in labels)
        steps.append(
            Step(
                node,
                run,
                reads,
                tuple(at(name) for name in node.outputs),
                _moved(node, host),
                tuple({at(name) for name in node.inputs if name and last[name] == number and name not in kept}),
                isinstance(run, ByMode),
            )
        )
    outputs = tuple(at(name) for name in graph.outputs)
    values = {name: place[name] for name in (*trained, *constants)}
    return Program(
        tuple(steps),
        len(place) + 1,
        tuple(place[name] for name in graph.inputs),
        outputs,
        values,
        constants,
        frozenset(in_host),
    )


def _varying(graph: Graph, trained: frozenset[str]) -> set[str]:
    """Return what depends on trained values by more than its shape."""
    found = set(trained)
    for node in graph.nodes:
        if node.op not in ("Shape", "Size") and not found.isdisjoint((*node.inputs, *node.captured)):
            found.update(name for name in node.outputs if name)
    return found


def _needed(graph: Graph, nodes: Sequence[Node], given: set[str]) -> list[Node]:
    wanted, found = set(graph.outputs), []
    for node in reversed(nodes):
        made = {name for name in node.outputs if name} - given
        if made & wanted:
            found.append(node)
            wanted.update((*node.inputs, *node.captured))
    return found[::-1]


def _host_made(nodes: Sequence[Node], known: Mapping[str, Array]) -> set[str]:
    """Return what is computed from sizes alone, which stays in host memory."""
    found: set[str] = set()
    for node in nodes:
        reads = {name for name in node.inputs if name}
        from_sizes = bool(reads & found) and all(name in found or name in known for name in reads)
        if node.op in ("Shape", "Size") or from_sizes:
            found.update(node.outputs)
    return found


def _read_as_number(node: Node, slot: int) -> bool:
    return slot in SIZES.get(node.op, ()) or (node.op.startswith("Reduce") and slot == 1)


def _moved(node: Node, host: set[str]) -> tuple[int, ...]:
    if node.outputs[0] in host or all(not name or name in host for name in node.inputs):
        return ()
    return tuple(slot for slot, name in enumerate(node.inputs) if name in host and not _read_as_number(node, slot))


def _read_in_host(node: Node, slot: int, host: set[str]) -> bool:
    return node.outputs[0] in host or _read_as_number(node, slot)


def _build_all(graph: Graph, nodes: Sequence[Node], known: Mapping[str, Array]) -> list[Run]:
    built, refused = [], []
    for node in nodes:
        try:
            built.append(_build(graph, node, known))
        except UnsupportedError as error:
            refused.append(str(error))
    if refused:
        more = f" (and {len(refused) - 5} more)" if len(refused) > 5 else ""
        raise InputError(
            f"No gradient can be taken through the model: {'; '.join(refused[:5])}{more}. Prune it by a method that "
            "takes none, such as reconstruction, and without training, or train it with the code that it comes from.",
            "unsupported-model",
        )
    return built


def _build(graph: Graph, node: Node, known: Mapping[str, Array]) -> Run:
    constants = [known.get(name) for name in node.inputs]
    shapes = [graph.facts.shapes[0].get(name) for name in node.inputs]
    ranks = [None if shape is None else len(shape) for shape in shapes]
    site = Site(node, constants, ranks)
    if node.kind in REFUSED:
        raise site.refusal(REFUSED[node.kind])
    if node.kind not in OPERATORS:
        raise site.refusal("this op is not known here")
    return OPERATORS[node.kind](site)


def as_tensor(value: Array) -> torch.Tensor:
    """Return a copy of an array as a tensor, bfloat16 included."""
    if value.dtype.name == "bfloat16":
        return torch.from_numpy(value.astype("float32")).to(torch.bfloat16)
    return torch.from_numpy(value.copy())
