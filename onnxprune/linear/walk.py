"""Running a model piece by piece over a set of samples, so that few layers are computed again for the next one.

Between two pieces only the tensors that later nodes read are held. Where these would take more than the memory, they
are held at narrow places alone, and the layers between these are computed again for each piece.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.graph.layers.weight_layout import WEIGHTED
from onnxprune.graph.storage.metadata import interface_of
from onnxprune.graph.storage.subgraphs import subgraphs
from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights
from onnxprune.linear.depthwise import fill_blocks
from onnxprune.linear.held import Calls, Held
from onnxprune.runtime.session import Session, open_session
from onnxprune.values.interface import fitted

Array = NDArray[Any]


MOST_AGAIN = 6
"""Layers that are computed again, at most, for want of a place between them where little is alive."""


def _single(value: Array) -> Array:
    """Return half precision as single, which there is room in for sums; other values as they are."""
    return value.astype(np.float32) if value.dtype == np.float16 else value


class Walk:
    """A model, what it refers to, the samples (feeds call by call), and how far the model was run over them."""

    def __init__(
        self,
        model: onnx.ModelProto,
        calls: Calls,
        weights: Weights = NO_WEIGHTS,
        *,
        memory: float = math.inf,
        sizes: Mapping[str, float] | None = None,
    ) -> None:
        """Begin at the feeds.

        Args:
            model: the model; weights that are replaced in it count from the next piece on.
            calls: the feeds.
            weights: that the model refers to.
            memory: bytes of tensors between layers that are kept in memory, the rest goes to scratch files.
            sizes: bytes of each tensor in one call, as far as they are known.
        """
        self.model = model
        self.weights = weights
        self._calls = calls
        self._interface = interface_of(model)
        self._held = Held(memory)
        self._share = memory / max(1, len(calls))
        self._fed = {name: np.asarray(value).dtype for name, value in calls[0].items()}
        self._have = set(self._fed)
        self._again = 0
        self._done: set[int] = set()
        self._place = {name: number for number, node in enumerate(model.graph.node) for name in node.output if name}
        self._readers: dict[str, set[int]] = {}
        for number, node in enumerate(model.graph.node):
            for name in _reads(node):
                self._readers.setdefault(name, set()).add(number)
        self._sizes = dict(sizes or {})
        self._narrow = self._narrow_enough(self._sizes)

    def run(self, reach: Sequence[str], peek: Sequence[str] = ()) -> Iterator[dict[str, Array]]:
        """Run on to the tensors in `reach`, and beyond to those in `peek` without settling the nodes in between.

        Yields the tensors asked for, call by call.
        """
        running = self._needed(reach, self._have)
        done = self._done | running
        made = {name for number in running for name in self.model.graph.node[number].output if name}
        fed = self._fed.keys()
        alive = {name for name in self._have | made if name not in fed and self._readers.get(name, set()) - done}
        self._again += sum(self.model.graph.node[number].op_type in WEIGHTED for number in running)
        narrow = sum(self._sizes.get(name, 0) for name in alive) <= self._narrow
        settles = bool(running) and (narrow or self._again > 2 * MOST_AGAIN)
        peeked = self._needed(peek, self._have) | running
        wanted = list(dict.fromkeys([*(sorted(alive & made) if settles else ()), *reach, *peek]))
        computed = [name for name in wanted if name not in self._have]
        session = self._session(sorted(peeked), self._have, computed) if computed else None
        inputs = [spec.name for spec in session.inputs] if session else []
        fed_anew = not fed.isdisjoint((*inputs, *reach, *peek))  # feeds may have to be read and decoded
        for number in range(len(self._calls)):
            held = {**(fitted(self._calls[number], self._interface) if fed_anew else {}), **self._held[number]}
            found = session.run({name: held[name] for name in inputs}, computed) if session else {}
            everything = {**held, **found}
            if settles:
                self._held[number] = {name: everything[name] for name in alive}
            yield {name: _single(everything[name]) for name in (*reach, *peek)}
        if settles:
            self._have, self._done, self._again = alive | fed, done, 0

    def _narrow_enough(self, sizes: Mapping[str, float]) -> float:
        """Return how many bytes may be alive at a place where a call is held.

        Within the memory they are held before every layer; else at the narrowest places that leave no more than
        `MOST_AGAIN` layers between them.
        """
        nodes = self.model.graph.node
        alive = np.zeros(len(nodes) + 1)
        for name, size in sizes.items():
            readers = self._readers.get(name)
            if readers and name in self._place:
                alive[self._place[name] + 1] += size
                alive[max(readers) + 1] -= size
        at_layers = np.cumsum(alive)[[number for number, node in enumerate(nodes) if node.op_type in WEIGHTED]]
        limits = np.unique(at_layers)
        fits = [
            np.diff(np.flatnonzero([True, *(at_layers <= limit), True])).max() <= MOST_AGAIN + 1 for limit in limits
        ]
        return max(self._share, float(limits[int(np.argmax(fits))])) if len(limits) else self._share

    def _needed(self, names: Sequence[str], have: set[str]) -> set[int]:
        """Return the nodes that have to run to make `names`."""
        stack, found = [name for name in names if name not in have], set[int]()
        while stack:
            number = self._place.get(stack.pop())
            if number is None or number in found:
                continue
            found.add(number)
            stack += [name for name in _reads(self.model.graph.node[number]) if name not in have]
        return found

    def _session(self, numbers: Sequence[int], have: set[str], wanted: Sequence[str]) -> Session:
        graph = self.model.graph
        piece = onnx.ModelProto(ir_version=max(4, self.model.ir_version))
        piece.opset_import.extend(self.model.opset_import)
        piece.functions.extend(self.model.functions)
        piece.graph.name = "piece"
        nodes = [graph.node[number] for number in numbers]
        piece.graph.node.extend(nodes)
        read = {name for node in nodes for name in _reads(node)}
        dtypes = {**self._fed, **{name: value.dtype for name, value in self._held[0].items()}}
        for name in sorted(read & have):
            kind = onnx.helper.np_dtype_to_tensor_dtype(dtypes[name])
            piece.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
        piece.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in read)
        piece.graph.sparse_initializer.extend(
            tensor for tensor in graph.sparse_initializer if tensor.values.name in read
        )
        piece.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        fill_blocks(piece)
        return open_session(piece, self.weights, name="a piece of the model")


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from _reads(inner)
        yield from (value.name for value in graph.output)
