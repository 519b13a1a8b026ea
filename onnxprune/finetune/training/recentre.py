"""Normalisations whose statistics are those of their own data, with the network computing what it did.

A cut and recovered network meets other means and variances than its normalisations remember. In training these go by
the batch, so that its first step would begin with another function than the one that was recovered. Here the true
mean m' and variance v' of what a normalisation reads take the place of its m and v, and its scale and shift make up for
it: s' = s sqrt((v' + e) / (v + e)) and b' = b + s (m' - m) / sqrt(v + e).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from onnxprune.finetune.interpreter.module import GraphModule
from onnxprune.finetune.interpreter.running import running_statistics
from onnxprune.graph.model import Graph


class _Norm(NamedTuple):
    """A normalisation: what it reads, its four values by name, and its epsilon."""

    read: str
    scale: str
    shift: str
    mean: str
    var: str
    epsilon: float


def recentre(graph: Graph, module: GraphModule, samples: Iterable[Sequence[torch.Tensor]]) -> int:
    """Give the trained normalisations of a module the statistics of `samples`; return how many they were.

    Those that share a scale or shift with others, or whose scale or shift is not trained, stay as they are.

    Args:
        graph: that the module was made of.
        module: where it is; its outputs do not change in evaluation.
        samples: what it is fed, batch by batch, its inputs in order.
    """
    norms = _norms(graph, module)
    if not norms:
        return 0
    before = module.training
    module.eval()
    sums = {norm.read: [torch.zeros((), dtype=torch.float64)] * 2 for norm in norms}
    counts = Counter[str]()
    with torch.no_grad():
        for feeds in samples:
            _, inner = module.traced(feeds, sums.keys())
            for name, value in inner.items():
                flat = value.transpose(0, 1).reshape(value.shape[1], -1).double()
                first, second = sums[name]
                sums[name] = [first.to(flat) + flat.sum(dim=1), second.to(flat) + flat.square().sum(dim=1)]
                counts[name] += flat.shape[1]
        values = {**module.trained(), **dict(module.named_buffers())}
        for norm in norms:
            mean, square = (value / counts[norm.read] for value in sums[norm.read])
            _replace(values, norm, mean, (square - mean.square()).clamp(min=0))
    module.train(before)
    return len(norms)


def _norms(graph: Graph, module: GraphModule) -> list[_Norm]:
    trained = module.trained()
    names = {(found.node, found.slot): found.name for found in running_statistics(graph)}
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    found = []
    for node in graph.nodes:
        mean, var = names.get((node.index, 3)), names.get((node.index, 4))
        if mean not in module.running or var not in module.running or mean is None or var is None:
            continue
        scale, shift = node.inputs[1:3]
        learns = all(name in trained and trained[name].requires_grad and readers[name] == 1 for name in (scale, shift))
        if learns and node.inputs[0] in graph.producers:
            found.append(_Norm(node.inputs[0], scale, shift, mean, var, node.attrs.get("epsilon", 1e-5)))
    return found


def _replace(values: dict[str, torch.Tensor], norm: _Norm, mean: torch.Tensor, var: torch.Tensor) -> None:
    scale, shift, old_mean, old_var = (values[name].double() for name in (norm.scale, norm.shift, norm.mean, norm.var))
    old_deviation, deviation = (old_var + norm.epsilon).sqrt(), (var + norm.epsilon).sqrt()
    values[norm.shift].copy_(shift + scale * (mean - old_mean) / old_deviation)
    values[norm.scale].copy_(scale * deviation / old_deviation)
    values[norm.mean].copy_(mean)
    values[norm.var].copy_(var)
