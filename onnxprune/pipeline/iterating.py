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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from onnxprune import __version__
from onnxprune.errors import InputError, UnreachableError
from onnxprune.graph.measures import count_params
from onnxprune.graph.outputs import check_input, check_outputs, data_names
from onnxprune.graph.saving import write_model
from onnxprune.graph.writing import Staging, explained
from onnxprune.pipeline.choosing import Budget
from onnxprune.pipeline.prune import run
from onnxprune.pipeline.quality import Gauge
from onnxprune.pipeline.result import Result, Tell, unheard
from onnxprune.pipeline.samples import Samples, open_samples, open_test
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.stages import Model, inspect, load, require_torch
from onnxprune.runtime import open_session
from onnxprune.values.outcome import Quality
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.progress import Track, silent

STATE = "state.json"
FORMAT = 1
MOST = 100
"""Iterations at most where a method's threshold decides how many there are."""


@dataclass(frozen=True)
class IterateSettings:
    """What to do and how.

    Attributes:
        settings: of every iteration; its budget is that of all together, its recipe the training of each.
        iterations: in how many a budget of MACs is reached; without one, the most that there are.
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
            "budget": settings.budget.to_json(),
            "iterations": self.iterations,
            "floor": self.floor,
            "round_to": settings.round_to,
            "recovery": settings.recovery,
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
    settings = job.settings
    _check(job)
    original = load(settings.model)
    state, path = _begin(job, original), job.work / STATE
    macs = inspect(original, approximate=settings.approximate).macs()
    while not state.ended:
        number = len(state.iterations) + 1
        share = 1.0 if state.standing is None else state.standing.macs
        budget = part(settings.budget, number, job.iterations, share)
        if budget is None or number > (MOST if settings.budget.macs is None else job.iterations):
            state = replace(state, ended=_enough(settings.budget, number - 1))
            break
        say("iteration", f"Iteration {number}")
        state = _iteration(job, state, original, macs, budget, track, say)
        _save(path, state)
    _save(path, state)
    if state.standing is None:
        raise UnreachableError(f"Nothing was written: {state.ended}")
    return _write(job, original, state, track)


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
    return replace(budget, macs=min(1.0, budget.macs ** (number / iterations) / share))


def _check(job: IterateSettings) -> None:
    settings = job.settings
    require_torch()
    check_input(settings.model)
    if settings.recipe is None:
        raise InputError("Iterations train; give the number of --epochs.")
    if job.iterations < 1:
        raise InputError(f"--iterations is a number from 1 up, not {job.iterations}.")
    if not 0 <= job.floor <= 1:
        raise InputError(f"--floor is a loss of top-1 between 0 and 100 points, not {100 * job.floor:g}.")
    if settings.budget.ratio is not None:
        raise InputError("Iterations go by --macs or by the method's own threshold; leave out --ratio.")
    inputs = {"the input model": settings.model, "the data": settings.data, "the test data": job.measured}
    check_outputs({"the model": settings.written}, inputs)


def _begin(job: IterateSettings, original: Model) -> State:
    """Return the state to go on from, in a folder of its own."""
    run_facts = job.to_json(original.digest)
    path = job.work / STATE
    if not job.resume:
        if job.work.exists():
            raise InputError(f"'{job.work}' is there already; go on with --resume, or remove it.")
        with explained(job.work):
            job.work.mkdir(parents=True)
        state = State(run_facts)
        _save(path, state)
        return state
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("format") != FORMAT:
            raise ValueError("another version wrote it")
        iterations = tuple(Iteration(**entry) for entry in fields.pop("iterations"))
        state = State(**fields, iterations=iterations)
    except FileNotFoundError:
        raise InputError(f"There is no state '{path}' to resume from; leave out --resume to begin.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{path}' is no state of iterations ({error}); remove '{job.work}' and begin anew.") from None
    other = sorted(name for name in run_facts if state.run.get(name) != json.loads(json.dumps(run_facts[name])))
    if other:
        raise InputError(
            f"'{job.work}' is of another run (other {', '.join(other)}); give what it was begun with, or a new --work."
        )
    return state


def _save(path: Path, state: State) -> None:
    with Staging() as staging:
        staging.write(path, state.to_text().encode())
        staging.commit(last=path)


def _file(job: IterateSettings, number: int) -> Path:
    return job.work / f"{number:03}.onnx"


def _iteration(
    job: IterateSettings, state: State, original: Model, macs: float, budget: Budget, track: Track, say: Tell
) -> State:
    """Do one iteration and return the state after it."""
    start = time.perf_counter()
    number = len(state.iterations) + 1
    standing = state.standing
    settings = replace(
        job.settings,
        model=job.settings.model if standing is None else _file(job, standing.number),
        output=_file(job, number),
        plan_output=None,
        budget=budget,
        teacher=job.settings.teacher or job.settings.model,
        force=True,
    )
    if state.preprocess is not None:  # settled once, by the original
        settings = replace(settings, preprocess=Preprocess.from_json(state.preprocess), scaling="explicit")
    try:
        result = run(settings, track, say)
    except UnreachableError as error:
        return replace(state, ended=str(error))
    state = _settled(state, result)
    found = _facts(job, state, number, original, macs, result, time.perf_counter() - start)
    ended = ""
    if not found.kept:
        _file(job, number).unlink(missing_ok=True)
        ended = (
            f"Iteration {number} was undone: top-1 on the validation data fell from {100 * (state.before or 0):.1f} to "
            f"{100 * found.trained:.1f} %, by more than --floor allows."
        )
    return replace(state, iterations=(*state.iterations, found), ended=ended)


def _settled(state: State, result: Result) -> State:
    """Record what the first iteration found of the original and the data; later ones have to see the same data."""
    quality, samples = result.quality, result.samples
    if quality is None or quality.before is None or samples is None:
        raise InputError("Iterations need labels, to see what they lose; give one sub-folder per class, or y.")
    data = str(result.plan.data["digest"])
    if state.before is None:
        pixels = None if samples.calibration.preprocessed else samples.calibration.preprocess.to_json()
        return replace(state, before=quality.before.top1, data=data, preprocess=pixels)
    if data != state.data:
        raise InputError("The data is another than these iterations were begun with; give the same.")
    return state


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
        kept=quality.after.top1 >= state.before - job.floor,
        seconds=seconds,
    )


def _enough(budget: Budget, done: int) -> str:
    if budget.macs is None:
        return f"{done} iterations are the most that are done."
    return f"The budget of {100 * budget.macs:.1f} % of the MACs was reached."


def _write(job: IterateSettings, original: Model, state: State, track: Track) -> Iterated:
    """Measure the last result that stands against the original, and put it in its place."""
    settings = job.settings
    assert state.standing is not None
    final = load(_file(job, state.standing.number))
    pixels = Preprocess() if state.preprocess is None else Preprocess.from_json(state.preprocess)
    settings = replace(settings, preprocess=pixels, scaling="explicit")
    session = open_session(original.proto, original.weights, name=str(original.path), threads=settings.threads)
    samples = open_samples(settings, original, session, track)
    if job.measured is not None:
        samples = replace(samples, measured=open_test(settings, original, job.measured, samples.calibration))
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
