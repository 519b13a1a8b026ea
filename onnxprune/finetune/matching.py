"""Match: all weights that stay follow the original's block outputs by gradient, without labels.

The squared error at the outputs of residual sums, and of the model, over the variance that the original's have there.
Where there is no sum, the tensors before the map shrinks stand for the ends of blocks. Matching the scores alone makes
networks worse on few samples: blocks tell many times as much of a sample as its scores do.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.finetune.installed import require_torch
from onnxprune.graph.model import Graph, Node, read_graph
from onnxprune.recovery.class_balance import balanced
from onnxprune.recovery.downstream import masks_of
from onnxprune.recovery.recovery import Recovered, Recovery, RecoveryTask
from onnxprune.values.branches import SUMS

if TYPE_CHECKING:
    import torch

    from onnxprune.finetune.interpreter.module import GraphModule

Array = NDArray[Any]
Feeds = Mapping[str, Array]

STEPS = 1200
"""Steps of the optimizer."""

BATCH, BATCH_OF_LARGE, LARGE = 48, 16, 1 << 14
"""Samples a step, as whole calls; fewer where a sample has more than `LARGE` values, as steps take long there."""

RATES = (6e-5, 2e-4, 6e-4, 2e-3)
"""Highest rates of Adam that are tried: networks differ by as much in what they take."""

FIRST, PROBE = 2, 40
"""Which rate is tried first, and the steps of such a try, a whole cycle."""

LONGER = 2.0
"""A cycle of many steps takes this much of the rate that is best for so few."""

SHIFT = 8
"""Images are shifted by up to this part of their height and width."""

WARMUP = 0.2
"""The part of a cycle in which the rate rises; after it, the rate falls as a cosine."""

JUDGED = 6
"""How often the samples that judge are looked at on the way; the best weights are kept."""

BETWEEN = (0.75, 0.5)
"""Parts of the way to the trained weights that are looked at too: where a cut took little, all of it is too far."""

CLIP = 10.0
"""Largest norm of the gradient."""

MEASURED = 8
"""Calls that variances are taken from."""

IMAGE_RANK, COLOURS, SMALLEST_IMAGE = 4, (1, 3), 16
"""What is taken for a batch of images: its axes, its channels, and the pixels along its shorter side."""

TINY = 1e-12

RIGHT = 1e-6
"""A target is right from the first if less than this share of its variance is wrong."""


def match(task: RecoveryTask) -> Recovered:
    """Train a pruned model's weights after the original's blocks.

    Raises:
        InputError: torch is missing, or a graph that cannot be trained.
    """
    require_torch()
    from onnxprune.finetune.interpreter.export import trained_model

    graph, whole = read_graph(task.pruned), read_graph(task.original)
    matching = Matching(graph, whole, task)
    before = matching.judged()
    found = matching.work(before)
    if found is None or found.weights is None:
        return Recovered(task.pruned, {})
    left = {name: found.least[name] / error for name, error in before.items() if error > RIGHT}
    model = balanced(task, trained_model(graph, matching.student).proto)
    return Recovered(model, left, history=found.history)


@dataclass(frozen=True, eq=False)
class Cycle:
    """What a cycle of training came to, on the samples that judge.

    Attributes:
        least: the errors by target where those of the outputs were least.
        last: the errors that were seen last.
        weights: where the errors were least; None: before.
        history: steps, and the error of the outputs after them.
    """

    least: Mapping[str, float]
    last: Mapping[str, float]
    weights: "Mapping[str, torch.Tensor] | None" = None
    history: tuple[tuple[int, float], ...] = ()


def best_rate(count: int, first: int, error: Callable[[int], float]) -> int:
    """Return the number of a rate, from 0 to `count`, that no neighbour is better than, going on from `first`."""
    known = {first: error(first)}

    def tried(place: int) -> float:
        if not 0 <= place < count:
            return math.inf
        if place not in known:
            known[place] = error(place)
        return known[place]

    place = first
    way = -1 if tried(first - 1) < known[first] else 1
    while tried(place + way) < known[place]:
        place += way
    return place


def targets(graph: Graph) -> tuple[str, ...]:
    """Return the tensors at which a pruned network is matched: sums of what layers made, else ends of stages."""
    sums = [node.outputs[0] for node in graph.nodes if node.kind in SUMS and _joins(graph, node)]
    ends = [node.inputs[0] for node in graph.nodes if _shrinks(graph, node) and not graph.is_leaf(node.inputs[0])]
    return tuple(dict.fromkeys(name for name in sums or ends if name not in graph.outputs and name not in graph.inputs))


def _joins(graph: Graph, node: Node) -> bool:
    shapes = graph.facts.shapes[0]
    computed = [name for name in node.inputs if not graph.is_leaf(name)]
    return len(computed) > 1 and len({shapes.get(name) for name in (*computed, node.outputs[0])}) == 1


def _shrinks(graph: Graph, node: Node) -> bool:
    shapes = graph.facts.shapes[0]
    if not node.inputs or not node.outputs:
        return False
    before, after = shapes.get(node.inputs[0]), shapes.get(node.outputs[0])
    if before is None or after is None or len(before) != len(after) or len(before) < 3:
        return False
    return math.prod(after[2:]) < math.prod(before[2:])


class Matching:
    """The moving parts: both networks in torch, what is matched, and in which units."""

    def __init__(self, graph: Graph, whole: Graph, task: RecoveryTask) -> None:
        from onnxprune.finetune.interpreter.module import GraphModule

        self.task, self.outputs = task, graph.outputs
        self.names = targets(graph)
        self.student, self.teacher = (GraphModule(each, statistics="eval").eval() for each in (graph, whole))
        self.parameters = [value for value in self.student.trained().values() if value.is_floating_point()]
        self.kept = {name: masks_of(task.masks, name) for name in (*self.names, *self.outputs)}
        numbers = range(len(task.calls))
        self.fitting = [number for number in numbers if not task.judges(number)]
        self.judging = [number for number in numbers if task.judges(number)]
        self.units = self._variances() if self.fitting else {}

    def work(self, before: Mapping[str, float]) -> Cycle | None:
        """Find a rate, train, and keep the weights that the samples that judge like best.

        Args:
            before: the errors of the network as it is.

        Returns:
            The cycle that was kept; None: nothing can be trained.
        """
        if not self.parameters or not self.units or not math.isfinite(sum(before.values())):
            return None

        def probed(place: int) -> float:
            cycle = self._cycle(RATES[place], PROBE, 1, before, f"Trying a rate of {RATES[place]:g}")
            return self._outputs_of(cycle.last)

        rate = LONGER * RATES[best_rate(len(RATES), FIRST, probed)]
        start = self._weights()
        found = self.drawn_back(self._cycle(rate, STEPS, JUDGED, before, "Matching blocks"), start)
        if found.weights is not None:
            self.student.load_state_dict(found.weights, strict=False)
        return found

    def _cycle(self, rate: float, steps: int, looks: int, before: Mapping[str, float], what: str) -> Cycle:
        """Train for one cycle from the weights that there are, which are put back after it."""
        import torch

        start, found = self._weights(), Cycle(before, before)
        optimizer = torch.optim.Adam(self.parameters, lr=rate)
        batches, chance = self._batches(), np.random.default_rng((self.task.seed, 1))
        for (step,) in self.task.track(([number] for number in range(steps)), total=steps, what=what):
            optimizer.param_groups[0]["lr"] = rate * rate_factor((step + 0.5) / steps)
            optimizer.zero_grad(set_to_none=True)
            batch = next(batches)
            for call in batch:
                losses = self._losses(varied(self.task.calls[call], chance))
                torch.autograd.backward(torch.stack(list(losses.values())).sum() / len(batch))
            torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
            optimizer.step()
            if (step + 1) % (steps // looks) == 0:
                found = self._looked(found, step + 1)
        self.student.load_state_dict(start, strict=False)
        return found

    def drawn_back(self, found: Cycle, start: "Mapping[str, torch.Tensor]") -> Cycle:
        """Return a cycle with the best weights on the way to its own from `start`, for the samples that judge."""
        best = found
        if found.weights is None:
            return found
        for share in BETWEEN:
            between = {
                name: start[name].lerp(value, share) if value.is_floating_point() else value
                for name, value in found.weights.items()
            }
            self.student.load_state_dict(between, strict=False)
            now = self.judged()
            if self._outputs_of(now) < self._outputs_of(best.least):
                best = replace(found, least=now, weights=between)
        return best

    def _looked(self, found: Cycle, steps: int) -> Cycle:
        """Return a cycle with what the samples that judge say after some steps."""
        now = self.judged()
        error = self._outputs_of(now)
        history = (*found.history, (steps, error))
        if error < self._outputs_of(found.least):
            return Cycle(now, now, self._weights(), history)
        return replace(found, last=now, history=history)

    def _weights(self) -> "dict[str, torch.Tensor]":
        return {name: value.detach().clone() for name, value in self.student.trained().items()}

    def _outputs_of(self, errors: Mapping[str, float]) -> float:
        """Return what counts of the errors: those of the outputs, by which the stages of a recovery are compared."""
        return sum(error for name, error in errors.items() if name in self.outputs) or sum(errors.values())

    def _batches(self) -> Iterator[list[int]]:
        """Yield calls to learn from, a batch at a time where calls are that small, in a new order every epoch."""
        rng = np.random.default_rng(self.task.seed)
        feeds, samples = self.task.calls[self.fitting[0]], max(1, self.task.samples // len(self.fitting))
        batch = BATCH_OF_LARGE if sum(value.size for value in feeds.values()) > LARGE * samples else BATCH
        size = max(1, batch // samples)
        while True:
            order = rng.permutation(self.fitting).tolist()
            yield from (order[start : start + size] for start in range(0, len(order), size))

    def _traced(self, module: "GraphModule", feeds: Feeds) -> "dict[str, torch.Tensor]":
        import torch

        given = [torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in module.input_names]
        outputs, inner = module.traced(given, self.names)
        found = {**inner, **dict(zip(self.outputs, outputs, strict=True))}
        return {name: value.float() for name, value in found.items() if value.is_floating_point()}

    def _truth(self, feeds: Feeds) -> "dict[str, torch.Tensor]":
        """Return what the original has at the targets, in the channels that are left."""
        import torch

        with torch.no_grad():
            found = self._traced(self.teacher, feeds)
        for name, masks in self.kept.items():
            for axis, mask in masks.items() if name in found else ():
                found[name] = found[name].index_select(axis, torch.from_numpy(np.flatnonzero(mask)))
        return found

    def _variances(self) -> dict[str, float]:
        """Return the variance of each target of the original, over some samples to fit to."""
        sums: dict[str, Array] = {}
        for call in self.fitting[:MEASURED]:
            for name, value in self._truth(self.task.calls[call]).items():
                wide = value.double()
                part = np.array([wide.numel(), float(wide.sum()), float(wide.square().sum())])
                sums[name] = sums.get(name, np.zeros(3)) + part
        return {
            name: max(float(squares / count - (total / count) ** 2), TINY)
            for name, (count, total, squares) in sums.items()
        }

    def _losses(self, feeds: Feeds) -> "dict[str, torch.Tensor]":
        """Return the mean squared error of each target on one call, over the variance of the original's."""
        truth, found = self._truth(feeds), self._traced(self.student, feeds)
        pairs = {name: (found[name], value) for name, value in truth.items() if name in found}
        same = {name: pair for name, pair in pairs.items() if pair[0].shape == pair[1].shape and name in self.units}
        return {name: (one - other).square().mean() / self.units[name] for name, (one, other) in same.items()}

    def judged(self) -> dict[str, float]:
        """Return the errors by target on the samples that judge, of the student as it is."""
        import torch

        sums: dict[str, float] = {}
        with torch.no_grad():
            for call in self.judging:
                for name, value in self._losses(self.task.calls[call]).items():
                    sums[name] = sums.get(name, 0.0) + float(value)
        return sums


def varied(feeds: Feeds, rng: np.random.Generator) -> Feeds:
    """Return images mirrored left to right and shifted at random; what is no batch of images stays as it is.

    Both networks see the same, so that what is right of such an image is what the original says of it.
    """
    return {name: _varied(value, rng) if _is_images(value) else value for name, value in feeds.items()}


def _is_images(value: Array) -> bool:
    if value.ndim != IMAGE_RANK or value.dtype.kind != "f":
        return False
    return min(value.shape[2:]) >= SMALLEST_IMAGE and value.shape[1] in COLOURS


def _varied(images: Array, rng: np.random.Generator) -> Array:
    turned = rng.random(len(images)) < 0.5
    images = np.where(turned[:, None, None, None], images[..., ::-1], images)
    sizes = images.shape[2:]
    margins = [max(1, size // SHIFT) for size in sizes]
    wide = np.pad(images, ((0, 0), (0, 0), *((margin, margin) for margin in margins)), mode="reflect")
    places = np.stack([rng.integers(0, 2 * margin + 1, len(images)) for margin in margins], axis=1)
    windows = [np.s_[number, :, y : y + sizes[0], x : x + sizes[1]] for number, (y, x) in enumerate(places)]
    return np.stack([wide[window] for window in windows])


def rate_factor(done: float) -> float:
    """Return the rate as a share of the highest one when a share of the steps is done: one cycle."""
    return done / WARMUP if done < WARMUP else 0.5 * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP)))


MATCH = Recovery(
    name="match",
    summary="All weights follow the original's block outputs by gradient; takes torch, and minutes.",
    run=match,
    after="refit",
    check=require_torch,
    quick="refit",
)
