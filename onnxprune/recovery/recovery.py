"""What a recovery is, and the registry of all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnx

from onnxprune.errors import InputError, did_you_mean
from onnxprune.linear.held import Calls
from onnxprune.recovery.products import Mixed
from onnxprune.registry import Registry, kind_complaint
from onnxprune.values.axes import Axis, BoolArray
from onnxprune.values.progress import Track, silent

GROUP = "onnxprune.recoveries"
"""Entry points under which other packages offer recoveries: the name of each = where its `Recovery` is."""

MEMORY = 1 << 28
"""Bytes of tensors between layers that are kept in memory; what is beyond goes to scratch files or is computed anew."""


@dataclass(frozen=True, eq=False)
class RecoveryTask:
    """What there is to recover. Both models hold their weights themselves.

    Attributes:
        original: the model before the cut.
        pruned: the model behind the cut, or behind an earlier recovery.
        masks: keep mask of every axis that lost positions, by its place in the original.
        bypassed: results of the sums that lost an operand.
        track: receives progress.
        mixed: by tensor of the original, what is to be made of it so that products of activations keep their values.
        calls: feeds of the calls to recover with, all of the same size where possible; the last ones only judge.
        samples: how many samples weights are fitted to.
        judging: how many calls only judge.
        seed: of the sampled positions.
        memory: bytes of tensors between layers that are kept in memory.
        classes: whether an output of shape [N, C] is known to hold scores of classes.
    """

    original: onnx.ModelProto
    pruned: onnx.ModelProto
    masks: Mapping[Axis, BoolArray]
    calls: Calls
    samples: int
    judging: int
    seed: int = 0
    memory: int = MEMORY
    bypassed: frozenset[str] = frozenset()
    track: Track = silent
    mixed: Mapping[str, Mixed] = field(default_factory=dict)
    classes: bool = False

    def judges(self, call: int) -> bool:
        """Whether a call is of samples that choose ridges and enter no solution."""
        return call >= len(self.calls) - self.judging

    def positions(self, inputs: int) -> int:
        """Places of a sample's map at which a layer of `inputs` inputs is looked at; more of them for few samples."""
        rows = min(max(FEWEST_ROWS, ROWS_PER_INPUT * inputs), MOST_ROWS)
        return max(FEWEST_POSITIONS, min(MOST_POSITIONS, rows // max(1, self.samples)))


FEWEST_POSITIONS, MOST_POSITIONS = 8, 256
FEWEST_ROWS, MOST_ROWS, ROWS_PER_INPUT = 4096, 65536, 64


@dataclass(frozen=True, eq=False)
class Recovered:
    """A model with new weights.

    Attributes:
        model: the model.
        solved: by output of the layer, the share of its squared error on held-out samples that is left.
        skipped: by output of the layer, why it was left as it is.
        history: where it was trained, steps and the error of the outputs after them, on held-out samples.
    """

    model: onnx.ModelProto
    solved: Mapping[str, float]
    skipped: Mapping[str, str] = field(default_factory=dict)
    history: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Recovery:
    """A way to recover.

    Attributes:
        name: of it.
        summary: one line.
        run: does it.
        after: the recovery that comes before it.
        check: refuses what cannot be, before any work is done.
        quick: the recovery that stands for it where plans are tried; None: itself.
    """

    name: str
    summary: str
    run: Callable[[RecoveryTask], Recovered]
    after: str | None = None
    check: Callable[[], None] = lambda: None
    quick: str | None = None


_complaint = kind_complaint(Recovery)
RECOVERIES: Registry[Recovery] = Registry("recovery", "onnxprune.recovery.ways", GROUP, _complaint)

NONE = "none"
"""The name under which nothing is recovered."""


def register(recovery: Recovery) -> Recovery:
    """Add `recovery` to the registry under its name."""
    return RECOVERIES.register(recovery.name)(recovery)


def in_trials(name: str) -> str:
    """Return the recovery by which plans are tried that are carried out with `name`."""
    quick = RECOVERIES[name].quick if name in RECOVERIES else None
    return quick or name


def steps(name: str) -> tuple[Recovery, ...]:
    """Return the recoveries that `name` stands for, in order; nothing for `none`.

    Raises:
        InputError: there is no such recovery, or it cannot be used.
    """
    if name == NONE:
        return ()
    if name not in RECOVERIES:
        nearest = did_you_mean(name, RECOVERIES)
        known = ", ".join([NONE, *RECOVERIES])
        raise InputError(
            RECOVERIES.unusable(name) or f"There is no recovery {name!r}{nearest}; choose from {known}.",
            "unknown-name",
        )
    found = RECOVERIES[name]
    found.check()
    return (*(steps(found.after) if found.after else ()), found)
