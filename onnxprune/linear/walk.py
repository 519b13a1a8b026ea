"""Running a model piece by piece over a set of samples, so that no layer is computed again for the next one.

Between two pieces only the tensors that later nodes read are held; every node runs once, or twice where a result is
looked at before the node's weights are settled.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray

from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights
from onnxprune.runtime.session import Session, open_session

Array = NDArray[Any]


class Walk:
    """A model, what it refers to, the samples (feeds call by call), and how far the model was run over them."""

    def __init__(
        self, model: onnx.ModelProto, calls: Sequence[Mapping[str, Array]], weights: Weights = NO_WEIGHTS
    ) -> None:
        self.model = model
        self.weights = weights
        self.held: list[dict[str, Array]] = [dict(call) for call in calls]
        self._done: set[int] = set()
        self._place = {name: number for number, node in enumerate(model.graph.node) for name in node.output if name}
        self._readers: dict[str, set[int]] = {}
        for number, node in enumerate(model.graph.node):
            for name in _reads(node):
                self._readers.setdefault(name, set()).add(number)
        self._always = {value.name for value in model.graph.input}

    def run(self, reach: Sequence[str], peek: Sequence[str] = ()) -> Iterator[dict[str, Array]]:
        """Run on to the tensors in `reach`, and beyond to those in `peek` without settling the nodes in between.

        Yields the tensors asked for, call by call.
        """
        have = set(self.held[0])
        running = self._needed(reach, have)
        self._done |= running
        made = {name for number in running for name in self.model.graph.node[number].output if name}
        carry = sorted(name for name in made if self._readers.get(name, set()) - self._done)
        peeked = self._needed(peek, have) | running
        wanted = list(dict.fromkeys([*carry, *reach, *peek]))
        computed = [name for name in wanted if name not in have]
        session = self._session(sorted(peeked), have, computed) if computed else None
        alive = {name for name in (*have, *made) if name in self._always or self._readers.get(name, set()) - self._done}
        for number, held in enumerate(self.held):
            found = session.run({spec.name: held[spec.name] for spec in session.inputs}, computed) if session else {}
            everything = {**held, **found}
            self.held[number] = {name: everything[name] for name in alive}
            yield {name: everything[name] for name in (*reach, *peek)}

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
        for name in sorted(read & have):
            kind = onnx.helper.np_dtype_to_tensor_dtype(self.held[0][name].dtype)
            piece.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
        piece.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in read)
        piece.graph.sparse_initializer.extend(
            tensor for tensor in graph.sparse_initializer if tensor.values.name in read
        )
        piece.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        return open_session(piece, self.weights, name="a piece of the model")


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (value.name for value in graph.output)
