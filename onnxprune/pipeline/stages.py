"""The stages of a recovery, and which of them is taken: the same for a plan that is tried and for the final result."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from typing import Any

from onnxprune.data import Dataset
from onnxprune.data.joined import joined
from onnxprune.errors import Code, InputError
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.pipeline.context import Run
from onnxprune.recovery.recovery import in_trials, steps
from onnxprune.recovery.run import RecoveryStep, recover_steps
from onnxprune.runtime import Session, open_session
from onnxprune.surgery.cut import Cut
from onnxprune.values.outcome import CUT
from onnxprune.values.progress import Track, silent


@dataclass(frozen=True, eq=False)
class Stage:
    """The cut, or what a step of the recovery made of it.

    Attributes:
        start: the cut as it was made.
        error: of the outputs on the samples that judge, as a share of their squares.
        step: what was done; None: nothing yet.
        others: how many samples of other classes weights were fitted to.
    """

    start: Cut
    error: float
    step: RecoveryStep | None = None
    others: int = 0

    @property
    def name(self) -> str:
        """Of the step."""
        return CUT if self.step is None else self.step.name

    @property
    def cut(self) -> Cut:
        """The cut with its weights."""
        return self.start if self.step is None else self.step.cut

    @property
    def size(self) -> int:
        """Bytes of new values."""
        return 0 if self.step is None else sum(len(tensor.raw_data) for tensor in self.step.values.values())

    def of(self, cut: Cut) -> "Stage":
        """Return the stage with its values in the same cut stored elsewhere."""
        step = None if self.step is None else replace(self.step, start=cut)
        return replace(self, start=cut, step=step)


@dataclass(frozen=True, eq=False)
class Judged:
    """The stages of a recovery, and which of them is taken.

    Attributes:
        stages: in their order, the cut first.
        best: one of them.
        notes: what is said of the choice.
    """

    stages: tuple[Stage, ...]
    best: Stage
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of new values."""
        return sum(stage.size for stage in self.stages)

    def of(self, cut: Cut) -> "Judged":
        """Return the same of the same cut stored elsewhere."""
        stages = tuple(stage.of(cut) for stage in self.stages)
        return replace(self, stages=stages, best=stages[self.stages.index(self.best)])


BROKEN: frozenset[Code] = frozenset({"unreadable-file", "not-writable"})
"""What is wrong with the machine and not with the model: nothing goes on from there."""


def stages_of(run: Run, cut: Cut, name: str, seed: int, notes: list[str], track: Track = silent) -> Iterator[Stage]:
    """Yield the cut and what each step of the recovery `name` made of it, as far as they come.

    Nothing where no step came to an end: a model that the runtime cannot run piece by piece is still a good cut.
    `notes` gets the reason. Where there are samples of other classes they take part if that leaves less error on the
    samples that judge, which are of the chosen classes; a long recovery goes on from the better one alone.
    """
    data = run.calibration_samples

    def stages(fit: Dataset, others: int) -> Generator[Stage]:
        graph, begun = run.model.graph, False
        settings: dict[str, Any] = {"memory": run.config.memory, "seed": seed, "classes": run.has_class_scores}
        try:
            for step in recover_steps(graph, cut, fit, data.judge, name, track=track, **settings):
                if not begun:
                    begun = True
                    yield Stage(cut, step.before)
                yield Stage(cut, step.error, step, others)
        except InputError as error:
            if error.code in BROKEN:
                raise
            notes.append(f"Recovery {name} stopped where it was: {error}")

    if data.others is None:
        yield from stages(data.fit, 0)
        return
    quick = 1 + len(steps(in_trials(name)))
    ways = [stages(data.fit, 0), stages(joined(data.fit, data.others), len(data.others))]
    first = [list(islice(way, quick)) for way in ways]
    best = min((0, 1), key=lambda way: min((stage.error for stage in first[way]), default=inf))
    ways[1 - best].close()
    yield from first[best]
    yield from ways[best]


def judge(run: Run, stages: Sequence[Stage]) -> Judged:
    """Take the stage with the least error on the samples that judge, unless another is visibly better in top-1.

    Of stages alike the last is taken that changed anything.
    """
    data, notes = run.calibration_samples, []
    changed = [stage for stage in stages if stage.step is None or stage.step.values]
    best = min(reversed(changed), key=lambda stage: stage.error)
    if not run.has_class_scores or not len(data.judge):
        return Judged(tuple(stages), best)
    evaluator = run.evaluator_on(replace(data, measured=data.judge))
    for other in stages:
        if other is best:
            continue
        with opened(run, best.cut) as one, opened(run, other.cut) as two:
            found = evaluator.quality(one, than=two)
        if found.change_interval is not None and found.change_interval[1] < 0:
            lost = -100 * (found.change or 0.0)
            notes.append(f"{best.name} loses {lost:.1f} points of top-1 against {other.name} there, which was taken.")
            best = other
    return Judged(tuple(stages), best, tuple(notes))


@contextmanager
def opened(run: Run, cut: Cut) -> Iterator[Session]:
    """Open a cut that may lie in memory."""
    with on_disk(cut.model, cut.weights, run.staging.folder(run.config.written)) as (proto, weights):
        yield open_session(proto, weights, name="the pruned model")
