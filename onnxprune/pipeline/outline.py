"""How long the parts of a run take by experience, so that who listens can say what time is left.

Costs are counted in plain passes of the original over the calibration samples, as seen on EfficientNet-Lite0 and on
networks for CIFAR-10. They are first guesses: a listener corrects them by what the parts took so far.
"""

from time import perf_counter

from onnxprune.data import Dataset
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.events import Outlined, Part
from onnxprune.recovery.recovery import NONE, in_trials
from onnxprune.runtime import Session

SCORES = 4.0
"""Passes for statistics, and for choosing channels by them."""

RECOVERY = {NONE: 0.0, "bias": 6.0, "fold": 8.0}
"""Passes of a recovery, judging its stages included."""

REFIT = 20.0
"""The same of refit, and of what others add."""

MATCHED = 200_000.0
"""Plain runs of a sample that the training steps of match take."""

LEAST = 30.0
"""Seconds that they take on the smallest network."""

EPOCH = 6.0
"""Passes of an epoch of training."""

PLANS, MILD = 10, 2
"""Plans that a search tries, and where the samples are too few to show that one holds the limits."""

TIMING = 5.0
"""Seconds for checking the cut and timing the models."""

FEW = 4
"""Samples that a pass is timed on."""


def outline(run: Run) -> Outlined:
    """Return how many seconds each part of a run that prunes should take."""
    if run.samples is None:
        return Outlined({"planning": 1.0, "checking": 1.0, "measuring": 1.0})
    config, one = run.config, run.pass_seconds
    quick, last = in_trials(config.recovered_by), config.recovered_by
    searches = run.limits is not None or config.pareto is not None
    tried = int(searches) + config.steps - 1
    if config.pareto is not None or (run.limits is not None and not config.goal.budget.explicit):
        can = run.limits is None or run.limits.can_be_shown(len(run.samples.tried_on), config.confidence)
        tried = PLANS if can else MILD
    recovery = 0.0 if searches and quick == last else one * _passes(quick)
    if last != quick:
        recovery += max(one * MATCHED / len(run.samples.fit), LEAST)
    epochs = 0 if config.recipe is None else config.recipe.epochs
    expected: dict[Part, float] = {
        "planning": one * (SCORES + tried * (_passes(quick) + 1)),
        "checking": 0.3 * TIMING,
        "recovery": recovery,
        "training": one * EPOCH * epochs,
        "measuring": one + 0.7 * TIMING,
    }
    return Outlined({part: seconds for part, seconds in expected.items() if seconds})


def _passes(recovery: str) -> float:
    return RECOVERY.get(recovery, REFIT)


def seconds_of_a_pass(session: Session, data: Dataset) -> float:
    """Return what a plain pass over samples should take, by how long the first few do."""
    done, start = 0, perf_counter()
    for batch in data.subset(range(min(FEW, len(data)))).batches(FEW):
        for chunk in session.chunks(batch.feeds):
            session.run(chunk.feeds)
        done += len(batch)
    return (perf_counter() - start) * len(data) / max(1, done)
