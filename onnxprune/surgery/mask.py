"""The oracle of a cut: the original network with the removed channels multiplied by zero.

The zeros come immediately before every op that adds up over the axis, so the masked network says exactly what a network
without those channels must compute, whatever an activation makes of zero. No weight is sliced and no number that
carries a size is touched.

Where an inexact cut was allowed (a normalisation over the cut axis), zeroing is not the reference. There the op gets
the kept positions alone, gathered just before it, and its result is spread out again; what then stands at removed
places is zeroed at the next sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.values.axes import Axis, BoolArray, IntArray, Ref
from onnxprune.values.branches import CONCAT, Branch


def masked_model(
    analysis: Analysis, masks: Mapping[Axis, BoolArray], branches: Sequence[Branch] = ()
) -> onnx.ModelProto:
    """Return a copy of the model with a Mul by `masks` (True = kept) before every sum over a masked axis.

    What `branches` hand to sums of a residual stream is multiplied by zero there; what they bring to a Concat are
    channels, masked like any others.
    """
    oracle = _Oracle(analysis, masks)
    oracle.zero_before_sums()
    oracle.zero_branches(branches)
    oracle.slice_around_norms(frozenset(node for branch in branches for node in branch.nodes))
    return oracle.build()


def gated_model(analysis: Analysis, branches: Sequence[Branch]) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return a copy of the model in which what goes with each branch is multiplied by a number that is fed.

    Returns:
        The model, and the names of the scalar inputs, in the order of `branches`. All at one: the original.
    """
    oracle = _Oracle(analysis, {})
    gates = tuple(f"onnxprune_gate/{number}" for number in range(len(branches)))
    for branch, gate in zip(branches, gates, strict=True):
        oracle.gate(branch, gate)
    model = oracle.build()
    kinds = [analysis.graph.facts.types[0][branch.name].tensor_type.elem_type for branch in branches]
    for gate, kind in zip(gates, kinds, strict=True):
        model.graph.input.append(onnx.helper.make_tensor_value_info(gate, kind, []))
    return model, gates


@dataclass
class _Oracle:
    """Nodes to put before and after the original ones. Mutable, private to `masked_model`."""

    analysis: Analysis
    masks: Mapping[Axis, BoolArray]
    before: dict[int, list[onnx.NodeProto]] = field(default_factory=dict)
    after: dict[int, list[onnx.NodeProto]] = field(default_factory=dict)
    inputs: dict[tuple[int, int], str] = field(default_factory=dict)
    outputs: dict[tuple[int, int], str] = field(default_factory=dict)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def zero_before_sums(self) -> None:
        """Multiply every masked operand of a sum by its mask."""
        nodes = self.analysis.graph.nodes
        summed: dict[tuple[int, str, str], dict[int, BoolArray]] = {}
        for fact, index in self.analysis.sums:
            if fact.axis in self.masks:
                zero = "" if fact.zero is None else nodes[index].inputs[fact.zero]
                place = (index, fact.axis.ref.name, zero)
                summed.setdefault(place, {})[fact.axis.dim] = self.masks[fact.axis]
        made: dict[tuple[str, str, tuple[int, ...]], str] = {}
        for (index, name, zero), masks in sorted(summed.items()):
            key = (name, zero, tuple(sorted(masks)))
            if key not in made:
                made[key] = self._without(index, name, zero, masks)
            for slot, read in enumerate(nodes[index].inputs):
                if read == name:
                    self.inputs[index, slot] = made[key]

    def zero_branches(self, branches: Sequence[Branch]) -> None:
        """Multiply what branches hand to sums and Concats by zero."""
        for branch in branches:
            if not self.brings_channels(branch):
                self.multiply(branch, self._constant(np.zeros((), dtype=self._dtype(branch.name))))

    def brings_channels(self, branch: Branch) -> bool:
        """Whether a branch ends in Concats."""
        return self.analysis.graph.nodes[branch.joins[0][0]].kind == CONCAT

    def gate(self, branch: Branch, gate: str) -> None:
        """Multiply what would be masked without a branch by the scalar `gate`."""
        if not self.brings_channels(branch):
            self.multiply(branch, gate)
            return
        nodes = self.analysis.graph.nodes
        masks = self.analysis.axis_masks(self.analysis.emptied(branch.groups))
        for fact, index in self.analysis.sums:
            for slot, name in enumerate(nodes[index].inputs):
                if fact.axis in masks and name == fact.axis.ref.name:
                    rank, dtype = len(self.analysis.graph.facts.shapes[0][name]), self._dtype(name)
                    shape = [-1 if place == fact.axis.dim else 1 for place in range(rank)]
                    kept = masks[fact.axis].reshape(shape).astype(dtype)
                    read = self.inputs.get((index, slot), name)
                    result = f"{read}/{gate}_{index}"
                    open_part = self._put(index, "Mul", [self._constant(1 - kept), gate], f"{result}/open")
                    factor = self._put(index, "Add", [self._constant(kept), open_part], f"{result}/factor")
                    self.inputs[index, slot] = self._put(index, "Mul", [read, factor], result)

    def multiply(self, branch: Branch, factor: str) -> None:
        """Multiply what a branch hands to sums and Concats by the scalar `factor`."""
        nodes = self.analysis.graph.nodes
        for index, slot in branch.joins:
            read = self.inputs.get((index, slot), nodes[index].inputs[slot])
            result = f"{read}/onnxprune_gated_{index}"
            self.inputs[index, slot] = self._put(index, "Mul", [read, factor], result)

    def slice_around_norms(self, gone: frozenset[int]) -> None:
        """Give ops that a cut changes inexactly the kept positions alone, and spread their results out again.

        Nodes that are `gone` with a branch stay as they are: what they make is multiplied by zero.
        """
        first = self.analysis.labellings[0]  # no other labelling has groups that are cut inexactly
        frozen_axes = [f for f in first.labelled.frozen_axes if f.approximate and f.axis in self.masks]
        cut = {f.node for f in frozen_axes if not first.alone(f.axis, self.masks[f.axis]).all()}
        for index in sorted(cut - gone):
            node = self.analysis.graph.nodes[index]
            for slot, name in enumerate(node.inputs):
                for ref in (Ref(name), Ref(name, index, slot)):
                    for dim, mask in self._of(ref, index):
                        read = self.inputs.get((index, slot), name)
                        self.inputs[index, slot] = self._gather(self.before, index, read, dim, np.flatnonzero(mask))
            for slot, name in enumerate(node.outputs):
                self._spread(index, slot, name)

    def _spread(self, index: int, slot: int, name: str) -> None:
        """Bring an output that now holds kept positions alone back to its full width."""
        masked = self._of(Ref(name), index)
        if not masked:
            return
        read = self.outputs[index, slot] = f"{name}/onnxprune_kept"
        for number, (dim, mask) in enumerate(masked, start=1):
            target = name if number == len(masked) else None
            read = self._gather(self.after, index, read, dim, np.maximum(np.cumsum(mask) - 1, 0), target)

    def build(self) -> onnx.ModelProto:
        """Return the model with everything put in its place."""
        result = onnx.ModelProto()
        result.CopyFrom(self.analysis.graph.model)
        result.graph.initializer.extend(self.constants)
        nodes = []
        for index, node in enumerate(self.analysis.graph.model.graph.node):
            copy = onnx.NodeProto.FromString(node.SerializeToString())
            for slot in range(len(copy.input)):
                copy.input[slot] = self.inputs.get((index, slot), copy.input[slot])
            for slot in range(len(copy.output)):
                copy.output[slot] = self.outputs.get((index, slot), copy.output[slot])
            nodes += [*self.before.get(index, ()), copy, *self.after.get(index, ())]
        del result.graph.node[:]
        result.graph.node.extend(nodes)
        return result

    def _of(self, ref: Ref, index: int) -> list[tuple[int, BoolArray]]:
        """Return the masked axes of one operand of node `index`; a convolution sums over channels, not over space."""
        first = 2 if self.analysis.graph.nodes[index].op == "Conv" else 0
        fixed = self.analysis.graph.facts.is_fixed
        masked = [
            (axis.dim, mask)
            for axis, mask in self.masks.items()
            if axis.ref == ref and axis.dim >= first and fixed(ref.name, axis.dim)
        ]
        return sorted(masked, key=lambda entry: entry[0])

    def _constant(self, value: NDArray[np.generic]) -> str:
        name = f"onnxprune_oracle/constant_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def _without(self, index: int, name: str, zero: str, masks: Mapping[int, BoolArray]) -> str:
        """Put `name` without its removed positions in front of node `index`; return the name of the result.

        Floats are multiplied by 0 or 1. Integers get their zero point at removed positions, and so do those that a
        DequantizeLinear reads: behind it, a product would keep the runtime from using the integer kernels of the cut.
        """
        graph = self.analysis.graph
        rank = len(graph.facts.shapes[0][name])
        kept = np.ones([1] * rank, dtype=bool)
        for axis, mask in masks.items():
            kept = kept & mask.reshape([-1 if place == axis else 1 for place in range(rank)])
        result = "_".join(
            [f"{name}/onnxprune_masked", *(str(axis) for axis in sorted(masks)), *([zero] if zero else [])]
        )
        maker = graph.producers.get(name)
        if self._is_integer(name):
            return self._zeroed(index, name, zero, kept, result)
        if maker is not None and maker.op == "DequantizeLinear" and self._is_integer(maker.inputs[0]):
            integers = self._zeroed(index, maker.inputs[0], "".join(maker.inputs[2:]), kept, f"{result}/integers")
            copy = onnx.NodeProto.FromString(graph.model.graph.node[maker.index].SerializeToString())
            copy.name = copy.output[0] = result
            copy.input[0] = integers
            self.before[index].append(copy)
            return result
        return self._put(index, "Mul", [name, self._constant(kept.astype(self._dtype(name)))], result)

    def _zeroed(self, index: int, name: str, zero: str, kept: BoolArray, result: str) -> str:
        """Put integers with the zero point (by default 0) in place of what is not kept in front of node `index`."""
        zero = zero or self._constant(np.zeros((), dtype=self._dtype(name)))
        return self._put(index, "Where", [self._constant(kept), name, zero], result)

    def _dtype(self, name: str) -> np.dtype[Any]:
        kind = self.analysis.graph.facts.types[0][name].tensor_type.elem_type
        return onnx.helper.tensor_dtype_to_np_dtype(kind)

    def _is_integer(self, name: str) -> bool:
        """Whether `name` is a quantized activation with one zero point, of a type that Where takes."""
        return name not in self.analysis.graph.facts.known and self._dtype(name) in (np.int8, np.uint8)

    def _put(self, index: int, op: str, inputs: list[str], result: str) -> str:
        """Put a node in front of node `index`; return its result."""
        self.before.setdefault(index, []).append(onnx.helper.make_node(op, inputs, [result], name=result))
        return result

    def _gather(
        self,
        place: dict[int, list[onnx.NodeProto]],
        index: int,
        name: str,
        dim: int,
        positions: IntArray,
        result: str | None = None,
    ) -> str:
        """Put a Gather of `positions` along axis `dim` before or after node `index`; return its result."""
        inputs = [name, self._constant(positions.astype(np.int64))]
        result = result or f"{name}/onnxprune_{len(self.constants)}_{index}_{dim}"
        place.setdefault(index, []).append(onnx.helper.make_node("Gather", inputs, [result], axis=dim))
        return result
