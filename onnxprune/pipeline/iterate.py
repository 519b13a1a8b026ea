"""Pruning in small steps with training in between: score, remove, recover, train, check the floor; until it is enough.

Every iteration is a whole run of `prune` on the result of the one before, so that each of its files is a checked model
of its own. The state is a file that is replaced after every iteration, from which a stopped run goes on.

The loop is that of Jiang et al. 2024: score, remove what is below the threshold up to a cap, retrain, and undo the step
that falls under the floor (stated). A budget of MACs is reached in equal ratios, our reading for methods without a
threshold.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from onnxprune._version import __version__
from onnxprune.analysis.analyse import Analysis
from onnxprune.errors import InputError, UnreachableError
from onnxprune.finetune.installed import require_torch
from onnxprune.graph.loaded import Model, load
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.measures import count_params
from onnxprune.graph.storage.paths import check_input, check_outputs, data_names
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.staging import Staging, explained
from onnxprune.importance.method import find_method
from onnxprune.latency.profile import Device
from onnxprune.pipeline.config import Settings
from onnxprune.pipeline.execution.evaluate import Gauge
from onnxprune.pipeline.execution.retrain import check_retraining
from onnxprune.pipeline.opening import inspect
from onnxprune.pipeline.planning.latency import settle_block
from onnxprune.pipeline.planning.widths import policy_of, refuse_unreachable
from onnxprune.pipeline.prune import run
from onnxprune.pipeline.result import Result, Tell, unheard
from onnxprune.pipeline.samples import Samples, measured_on, open_samples
from onnxprune.runtime import open_session
from onnxprune.selection.budget import Budget
from onnxprune.selection.goal import Goal
from onnxprune.selection.steering import widths_by_place
from onnxprune.values.outcome import Quality
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.progress import Track, silent

STATE = "state.json"
FORMAT = 1
EXACT = 1e-9
"""What rounding may add to a loss that is just what the floor allows."""

MOST = 100
"""Iterations at most where a method's threshold decides how many there are."""


@dataclass(frozen=True)
class IterateSettings:
    """What to do and how.

    Attributes:
        settings: of every iteration; its budget is that of all together, its recipe the training of each.
        iterations: in how many a budget of MACs is reached; without one, a threshold decides.
        floor: the most top-1 that may be lost on the validation data, as a share; what loses more is undone.
        measured: data of its own to measure the result on; None: the validation data.
        folder: where state and models are kept; None: the output with the ending .iterations.
        resume: go on from there.
    """

    settings: Settings
    iterations: int = 5
    floor: float = 0.02
    measured: Path | None = None
    folder: Path | None = None
    resume: bool = False

    @property
    def work(self) -> Path:
        """Where state and models are kept."""
        return self.folder or self.settings.written.with_suffix(".iterations")

    def to_json(self, digest: str) -> dict[str, Any]:
        """What tells this run from others: a state of another run is not gone on from."""
        settings = self.settings
        return {
            "version": __version__,
            "model": digest,
            "method": settings.method,
            "options": dict(settings.options),
            "budget": settings.goal.budget.to_json(),
            "policy": settings.goal.policy,
            "single layers": settings.goal.steering.to_json(),
            "iterations": self.iterations,
            "floor": self.floor,
            "round_to": settings.goal.round_to,
            "recovery": settings.recovery,
            "approximate": settings.approximate,
            "training": None if settings.recipe is None else settings.recipe.to_json(),
            "classes": list(settings.classes),
            "holdout": settings.holdout,
            "seed": settings.seed,
        }


@dataclass(frozen=True)
class Iteration:
    """What one iteration came to.

    Attributes:
        number: from 1.
        macs, params: what is left of the original's, as shares.
        channels: channels that it removed.
        cut, recovered, trained: top-1 on the validation data after each; None where it was not done.
        kept: whether its result stands; else it was undone.
        seconds: that it took.
    """

    number: int
    macs: float
    params: float
    channels: int
    cut: float | None
    recovered: float | None
    trained: float
    kept: bool
    seconds: float


@dataclass(frozen=True)
class State:
    """Where the run stands: `before` is the original's top-1, `data` the digest of what was scored on."""

    run: Mapping[str, Any]
    before: float | None = None
    data: str | None = None
    preprocess: Mapping[str, Any] | None = None
    iterations: tuple[Iteration, ...] = ()
    ended: str = ""

    def to_text(self) -> str:
        """The state as JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True) + "\n"

    @property
    def standing(self) -> Iteration | None:
        """The last iteration that was not undone."""
        return next((found for found in reversed(self.iterations) if found.kept), None)


@dataclass(frozen=True, eq=False)
class Iterated:
    """What all iterations came to; `quality` compares the result with the original."""

    model: Path
    method: str
    state: State
    quality: Quality
    samples: Samples
    output: Path
    folder: Path
    on_validation: bool
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "version": __version__,
            "model": str(self.model),
            "output": str(self.output),
            "method": self.method,
            "before": self.state.before,
            "iterations": [asdict(found) for found in self.state.iterations],
            "ended": self.state.ended,
            "quality": self.quality.to_json(),
            "notes": list(self.notes),
        }


def iterate(job: IterateSettings, track: Track = silent, say: Tell = unheard) -> Iterated:
    """Prune and train in turns, and write the last result that stands.

    Raises:
        InputError: bad input or usage, torch is missing, or the state is of another run.
        UnreachableError: no iteration stands.
        VerificationError: a result failed its check.
    """
    _check(job)
    settings = job.settings
    settings = replace(settings, goal=settle_block(settings.goal, Device(settings.threads), track, say))
    job = replace(job, settings=settings)
    original = load(settings.model)
    analysis = inspect(original, approximate=settings.approximate)
    refuse_unreachable(analysis, settings.goal, {})
    macs = analysis.macs()
    check_retraining(settings, original)
    state, path = _begin(job, original), job.work / STATE
    samples, measured = _samples(job, original, state, track, say)
    if not job.resume:
        state = _begun(job, state, samples)
    while not state.ended:
        number = len(state.iterations) + 1
        share = 1.0 if state.standing is None else state.standing.macs
        budget = part(settings.goal.budget, number, job.iterations, share)
        goal = goal_of(settings.goal, budget, number, job.iterations, _present(job, state, analysis), analysis)
        if goal is None or number > (MOST if settings.goal.budget.macs is None else job.iterations):
            state = replace(state, ended=_enough(settings.goal, number - 1))
            break
        say("iteration", f"Iteration {number}")
        state = _iteration(job, state, original, macs, goal, track, say)
        _save(path, state)
    _save(path, state)
    if state.standing is None:
        if not state.iterations:  # nothing to go on from
            path.unlink(missing_ok=True)
            with suppress(OSError):
                job.work.rmdir()
        raise UnreachableError(f"Nothing was written: {state.ended}")
    return _write(job, original, state, measured, track)


def part(budget: Budget, number: int, iterations: int, share: float) -> Budget | None:
    """Return the budget of one iteration; None where nothing is left to be done.

    Args:
        budget: of all iterations together.
        number: of this one, from 1.
        iterations: how many there are.
        share: what the iterations so far left of the original's MACs.

    A budget of MACs is reached in equal ratios; it is given as a share of what the iteration begins with. A threshold
    is the same in every iteration.
    """
    if budget.macs is None:
        return budget
    if share <= budget.macs:
        return None
    # An iteration may take more than its ratio, as widths are rounded; then the next ones have nothing left to do.
    ratios = (budget.macs ** (step / iterations) for step in range(min(number, iterations), iterations + 1))
    return replace(budget, macs=next(ratio for ratio in ratios if ratio < share) / share)


def goal_of(
    goal: Goal, budget: Budget | None, number: int, iterations: int, present: Analysis, original: Analysis
) -> Goal | None:
    """Return what widths are chosen by in one iteration; None where nothing is left to be done.

    What is asked of single layers is reached in `iterations` equal ratios of the original's widths, as are budgets of
    MACs. Where nothing else is asked for, iterations in which all of these round to the widths there are are skipped.

    Args:
        goal: for all iterations together.
        budget: of this one, see `part`.
        number: of this one, from 1.
        iterations: how many there are.
        present: the network that it begins with.
        original: the network that the first began with.
    """
    steering = replace(goal.steering, original=widths_by_place(original.groups))
    goes_on = budget is not None and (budget.explicit or not goal.steering.ratios)
    for step in range(min(number, iterations), iterations + 1):
        part_of_all = steering.part(step / iterations, present.groups)
        found = replace(goal, budget=budget or Budget(), steering=part_of_all)
        if goes_on or any(found.width(group).top < group.size for group in present.prunable):
            return found
    return None


def _present(job: IterateSettings, state: State, original: Analysis) -> Analysis:
    """Return the network that the next iteration begins with; only where single layers are steered is it another."""
    if state.standing is None or not job.settings.goal.steering.ratios:
        return original
    return inspect(load(_file(job, state.standing.number)), approximate=job.settings.approximate)


def _check(job: IterateSettings) -> None:
    settings = job.settings
    require_torch()
    method = find_method(settings.method)
    policy_of(method, method.settle(settings.options), settings.goal.policy)
    check_input(settings.model)
    if settings.recipe is None:
        raise InputError("Iterations train; give the number of --epochs.")
    if job.iterations < 1:
        raise InputError(f"--iterations is a number from 1 up, not {job.iterations}.")
    if settings.goal.budget.macs is not None and not 0 < settings.goal.budget.macs <= 1:
        raise InputError(f"--macs is a share above 0 and up to 100%, not {settings.goal.budget.macs:.0%}.")
    if not 0 <= job.floor <= 1:
        raise InputError(f"--floor is a loss of top-1 between 0 and 100 points, not {100 * job.floor:g}.")
    if settings.goal.budget.ratio is not None:
        raise InputError("Iterations go by --macs or by the method's own threshold; leave out --ratio.")
    inputs = {"the input model": settings.model, "the data": settings.data, "the test data": job.measured}
    check_outputs({"the model": settings.written}, inputs)
    place = job.work.resolve()
    if settings.data is not None and settings.data.resolve() in place.parents:
        raise InputError(f"The work folder {job.work} would be part of the data; name another with --work.")
    if place == settings.written.resolve():
        raise InputError(f"The model and the work folder would both be {job.work}; name another with --work.")


def _begin(job: IterateSettings, original: Model) -> State:
    """Return the state to go on from; without --resume nothing is written yet."""
    run_facts = job.to_json(original.digest)
    path = job.work / STATE
    if not job.resume:
        if path.exists():
            raise InputError(f"'{job.work}' is there already; go on with --resume, or remove it.")
        if job.work.exists():
            raise InputError(f"'{job.work}' is there already and is not of iterations; name a new folder with --work.")
        return State(run_facts)
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("format") != FORMAT:
            raise ValueError("another version wrote it")
        iterations = tuple(Iteration(**entry) for entry in fields.pop("iterations"))
        state = State(**fields, iterations=iterations)
        if state.preprocess is not None:
            Preprocess.from_json(state.preprocess)
        other = sorted(name for name in run_facts if state.run.get(name) != json.loads(json.dumps(run_facts[name])))
    except FileNotFoundError:
        raise InputError(f"There is no state '{path}' to resume from; leave out --resume to begin.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"'{path}' is no state of iterations ({error}); remove '{job.work}' and begin anew.") from None
    if other:
        raise InputError(
            f"'{job.work}' is of another run (other {', '.join(other)}); give what it was begun with, or a new --work."
        )
    return state


def _samples(job: IterateSettings, original: Model, state: State, track: Track, say: Tell) -> tuple[Samples, Samples]:
    """Open the data, and what the result is measured on, before any work is done with them.

    Raises:
        InputError: data that cannot be used, has no labels, or is not what the state is of.
    """
    settings = _settled(job.settings, state)
    say("working", "Opening the data")
    session = open_session(original.proto, original.weights, name=str(original.path), threads=settings.threads)
    samples = open_samples(settings, original, session, track)
    if samples.calibration.labels is None:
        raise InputError("Iterations need labels, to see what they lose; give one sub-folder per class, or y.")
    if state.data is not None and samples.calibration.digest() != state.data:
        raise InputError("The data is another than these iterations were begun with; give the same.")
    if samples.presets:
        say("samples", samples)
    return samples, measured_on(job.measured, samples, settings, original)


def _begun(job: IterateSettings, state: State, samples: Samples) -> State:
    """Make the work folder and record what was found of the data, so that all iterations see the same."""
    data = samples.calibration
    state = replace(state, data=data.digest(), preprocess=None if data.preprocessed else data.preprocess.to_json())
    with explained(job.work):
        job.work.mkdir(parents=True)
    _save(job.work / STATE, state)
    return state


def _settled(settings: Settings, state: State) -> Settings:
    """Return the settings with the pixels' treatment that was settled once, by the original."""
    if state.preprocess is None:
        return settings
    return replace(settings, preprocess=Preprocess.from_json(state.preprocess), scaling="explicit")


def _save(path: Path, state: State) -> None:
    with Staging() as staging:
        staging.write(path, state.to_text().encode())
        staging.commit(last=path)


def _file(job: IterateSettings, number: int) -> Path:
    return job.work / f"{number:03}.onnx"


def _iteration(
    job: IterateSettings, state: State, original: Model, macs: float, goal: Goal, track: Track, say: Tell
) -> State:
    """Do one iteration and return the state after it."""
    start = time.perf_counter()
    number = len(state.iterations) + 1
    standing = state.standing
    settings = replace(
        _settled(job.settings, state),
        model=job.settings.model if standing is None else _file(job, standing.number),
        output=_file(job, number),
        plan_output=None,
        goal=goal if goal.explicit else replace(goal, budget=replace(goal.budget, alpha=1.0)),
        teacher=job.settings.teacher or job.settings.model,
        force=True,
    )
    try:
        result = run(settings, track, say)
    except UnreachableError as error:
        return replace(state, ended=str(error))
    if state.before is None:
        state = replace(state, before=_before(result))
    found = _facts(job, state, number, original, macs, result, time.perf_counter() - start)
    ended = ""
    if not found.kept:
        _remove(_file(job, number))
        ended = (
            f"Iteration {number} was undone: top-1 on the validation data fell from {100 * (state.before or 0):.1f} to "
            f"{100 * found.trained:.1f} %, by more than --floor allows."
        )
    return replace(state, iterations=(*state.iterations, found), ended=ended)


def _remove(path: Path) -> None:
    """Remove a model with its data files."""
    _, weights = open_model(path)
    for file in [found.path for found in weights.files.values()]:
        file.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _before(result: Result) -> float:
    """Return the original's top-1, as the first iteration found it."""
    assert result.quality is not None
    assert result.quality.before is not None
    return result.quality.before.top1


def _facts(
    job: IterateSettings, state: State, number: int, original: Model, macs: float, result: Result, seconds: float
) -> Iteration:
    quality, after = result.quality, result.after
    assert quality is not None
    assert quality.after is not None
    assert after is not None
    assert state.before is not None
    steps = {step.name: step.top1 for step in quality.steps}
    recovered = [top1 for name, top1 in steps.items() if name not in ("cut", "training")]
    return Iteration(
        number,
        macs=after.macs / macs,
        params=after.params / max(1, count_params(original.proto)),
        channels=result.plan.removed,
        cut=steps.get("cut"),
        recovered=recovered[-1] if recovered else None,
        trained=quality.after.top1,
        kept=quality.after.top1 >= state.before - job.floor - EXACT,
        seconds=seconds,
    )


def _enough(goal: Goal, done: int) -> str:
    budget = goal.budget
    if goal.steering.ratios and not budget.explicit and done < MOST:
        return "What was asked of single layers was reached."
    if budget.macs is None:
        return f"{done} iterations are the most that are done."
    return f"The budget of {100 * budget.macs:.1f} % of the MACs was reached."


def _write(job: IterateSettings, original: Model, state: State, samples: Samples, track: Track) -> Iterated:
    """Measure the last result that stands against the original, and put it in its place."""
    settings = job.settings
    assert state.standing is not None
    final = load(_file(job, state.standing.number))
    session = open_session(final.proto, final.weights, name="the pruned model", threads=settings.threads)
    quality = Gauge(settings, original, samples, track).quality(session)
    written = settings.written
    with Staging() as staging:
        with explained(written):
            names = data_names(final.proto, final.weights, written, ())
            write_model(final.proto, final.weights, staging.folder(written) / written.name, names)
        staging.commit(last=written)
    return Iterated(
        settings.model,
        settings.method,
        state,
        quality,
        samples,
        written,
        job.work,
        job.measured is None,
        original.notes,
    )
