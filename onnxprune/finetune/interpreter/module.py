"""An ONNX graph as a torch module: a parameter for each trained tensor of the file, under the name it has there."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from onnxprune.finetune.interpreter.parameters import trained_constants
from onnxprune.finetune.interpreter.program import as_tensor, make_program
from onnxprune.finetune.interpreter.running import running_statistics
from onnxprune.graph.model import Graph
from onnxprune.graph.storage.metadata import interface_of
from onnxprune.values.interface import Narrowed

Statistics = Literal["train", "eval"]

IMAGE_RANK = 4
"""Axes of images, and of the kernels of convolutions over them."""


class GraphModule(nn.Module):
    """The nodes of a graph, run one after the other in torch.

    `state_dict()` has the names of the file: parameters are what is trained, buffers are running statistics and other
    constants. A tensor that several nodes read is one parameter. Sizes that depend on the input stay in host memory.
    Kernels of images lie in memory with their channels last: steps are faster so, and several times faster where
    pruning left odd widths.

    Attributes:
        input_names: what `forward` takes, in order.
        output_names: what it returns, in order.
        samples: how many samples the graph says that it takes in one call; None: any number.
        interface: what a cut left of inputs and outputs; inputs of the original's widths are taken too.
        first_sizes: the inputs whose first axis has a fixed size, with that size.
        running: names of the running statistics.
        statistics: whether BatchNormalization uses and updates statistics of the batch in training (`train`), or keeps
            to its running ones (`eval`).
    """

    def __init__(self, graph: Graph, *, statistics: Statistics = "train") -> None:
        """Build the module; values are copies, the graph is never changed.

        Raises:
            InputError: nodes that cannot be trained through, by name.
        """
        super().__init__()
        self.statistics: Statistics = statistics
        self.input_names, self.output_names = graph.inputs, graph.outputs
        self.interface = interface_of(graph.model)
        self.samples = _samples(graph)
        self.first_sizes = {spec.name: spec.shape[0] for spec in graph.input_specs if spec.shape and spec.shape[0]}
        trained = trained_constants(graph)
        running = running_statistics(graph)
        self._program = make_program(graph, trained, running)
        # Names of ONNX hold dots and slashes, which add_module and register_parameter refuse; the tables do not mind.
        for name in trained:
            stored = as_tensor(graph.facts.known[name].first)
            layout = torch.channels_last if stored.ndim == IMAGE_RANK else torch.contiguous_format
            self._parameters[name] = nn.Parameter(stored.contiguous(memory_format=layout))
        self._host: dict[str, torch.Tensor] = {}
        for name, value in self._program.constants.items():
            if name in self._program.host:
                self._host[name] = as_tensor(value)
            else:
                self._buffers[name] = as_tensor(value)
        self.running = tuple(found.name for found in running if found.name in self._buffers)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Run the graph on its inputs in order; return its output, or a tuple where it has several.

        Raises:
            ValueError: another number of inputs than the graph has.
        """
        outputs, _ = self._run(inputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def traced(
        self, inputs: Sequence[torch.Tensor], names: Collection[str]
    ) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        """Run the graph; return its outputs, and the tensors `names` that its nodes make on the way."""
        return self._run(inputs, frozenset(names))

    def _run(
        self, inputs: Sequence[torch.Tensor], kept: frozenset[str] = frozenset()
    ) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        program = self._program
        if len(inputs) != len(program.inputs):
            raise ValueError(f"the graph takes {len(program.inputs)} inputs ({', '.join(self.input_names)})")
        values: list[Any] = [None] * program.places
        inner: dict[str, torch.Tensor] = {}
        for table in (self._parameters, self._buffers, self._host):
            for name, value in table.items():
                values[program.values[name]] = value
        for name, place, value in zip(self.input_names, program.inputs, inputs, strict=True):
            values[place] = fitted_tensor(value, self.interface.get(name, ()))
        of_batch = self.training and self.statistics == "train"
        for step in program.steps:
            found = [values[place] for place in step.reads]
            for slot in step.moved:
                found[slot] = found[slot].to(inputs[0].device)
            made = step.run(of_batch, *found) if step.by_mode else step.run(*found)
            for place, value in zip(step.makes, as_tuple(made), strict=False):
                values[place] = value
            if kept:
                inner |= {
                    name: values[place]
                    for name, place in zip(step.node.outputs, step.makes, strict=True)
                    if name in kept
                }
            for place in step.drops:
                values[place] = None
            values[0] = None
        return tuple(values[place] for place in program.outputs), inner

    def trained(self) -> Mapping[str, nn.Parameter]:
        """Return the parameters by the name that they have in the file."""
        return {name: value for name, value in self._parameters.items() if value is not None}


def checked(graph: Graph) -> tuple[str, ...]:
    """Return the names of what would be trained, without a module being made.

    Raises:
        InputError: nodes that cannot be trained through, by name.
    """
    trained = trained_constants(graph)
    make_program(graph, trained, running_statistics(graph))
    return trained


def as_tuple(made: Any) -> tuple[torch.Tensor, ...]:
    """Return what a node or a module made, one value or several, as a tuple."""
    return made if isinstance(made, tuple) else (made,)


def fitted_tensor(value: torch.Tensor, left: Sequence[Narrowed]) -> torch.Tensor:
    """Return what a cut left of an input or output; a value that is not as wide as the original's stays as it is."""
    for narrowed in left:
        if value.ndim > narrowed.axis and value.shape[narrowed.axis] == narrowed.size:
            value = value.index_select(narrowed.axis, torch.tensor(narrowed.kept, device=value.device))
    return value


def _samples(graph: Graph) -> int | None:
    """Return the fixed number of samples of the first input, or 1 where a fixed output gives a hidden one away."""
    first = next((spec.shape[0] for spec in graph.input_specs if spec.shape), None)
    if first is not None:
        return max(1, first)
    return 1 if any(spec.shape and spec.shape[0] is not None for spec in graph.output_specs) else None
