"""Pruning in small steps with training in between: score, remove, recover, train, check the floor; until it is enough.

Every iteration is a whole run of `prune` on the result of the one before, so that each of its files is a checked model
of its own. The state is a file that is replaced after every iteration, from which a stopped run goes on.

The loop is that of Jiang et al. 2024: score, remove what is below the threshold up to a cap, retrain, and undo the step
that falls under the floor (stated). A budget of MACs is reached in equal ratios, our reading for methods without a
threshold.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.inspect import inspect
from onnxprune.errors import InputError, UnreachableError
from onnxprune.finetune.installed import require_torch
from onnxprune.graph.loaded import Model, load
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.measures import count_params
from onnxprune.graph.storage.paths import Inputs, check_folder, check_input, check_outputs, data_names
from onnxprune.graph.storage.places import is_null
from onnxprune.graph.storage.resumable import Resumable
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.staging import Staging, explained
from onnxprune.importance.method import find_method
from onnxprune.latency.device import Device
from onnxprune.pipeline.config import Settings
from onnxprune.pipeline.config.settings import IterateSettings
from onnxprune.pipeline.evaluator import Evaluator
from onnxprune.pipeline.events import NULL_LISTENER, DataOpened, IterationBegun, Listener, Working
from onnxprune.pipeline.execution.retrain import check_retraining
from onnxprune.pipeline.planning.latency import with_width_block
from onnxprune.pipeline.planning.widths import policy_of, refuse_unreachable
from onnxprune.pipeline.prune import prune
from onnxprune.pipeline.samples import Samples, measured_on, open_samples, scale_pixels
from onnxprune.runtime import open_session
from onnxprune.selection.budget import Budget
from onnxprune.selection.goal import Goal
from onnxprune.selection.schedule import left_after
from onnxprune.selection.steering import widths_by_place
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.results import Iterated, Iteration, Result

STATE = "state.json"


ITERATIONS = Resumable("state of iterations")


EXACT = 1e-9
"""What rounding may add to a loss that is just what the floor allows."""


MOST = 100
"""Iterations at most where a method's threshold decides how many there are."""


@dataclass(frozen=True)
class Iterations:
    """Where the run stands: `before` is the original's top-1, `data` the digest of what was scored on."""

    run: Mapping[str, Any]
    before: float | None = None
    data: str | None = None
    preprocess: Mapping[str, Any] | None = None
    iterations: tuple[Iteration, ...] = ()
    ended: str = ""

    @property
    def standing(self) -> Iteration | None:
        """The last iteration that was not undone."""
        return next((found for found in reversed(self.iterations) if found.kept), None)


def iterate(job: IterateSettings, listener: Listener = NULL_LISTENER) -> Iterated:
    """Prune and train in turns, and write the last result that stands.

    Raises:
        InputError: bad input or usage, torch is missing, or the state is of another run.
        UnreachableError: no iteration stands.
        VerificationError: a result failed its check.
    """
    _check(job)
    if not is_null(job.work):
        return _iterate(job, listener)
    with TemporaryDirectory(prefix="onnxprune-", ignore_cleanup_errors=True) as folder:
        return replace(_iterate(replace(job, folder=Path(folder) / "work"), listener), folder=None)


def _iterate(job: IterateSettings, listener: Listener) -> Iterated:
    """Do what `iterate` does, in the work folder."""
    settings = job.settings
    settings = replace(settings, goal=with_width_block(settings.goal, Device(settings.threads), listener))
    job = replace(job, settings=settings)
    original = load(settings.model)
    analysis = inspect(original, approximate=settings.approximate)
    refuse_unreachable(analysis, settings.goal, {})
    macs = analysis.macs()
    check_retraining(settings, original)
    state, path = _begin(job, original), job.work / STATE
    samples, measured = _samples(job, original, state, listener)
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
        listener.hear(IterationBegun(number))
        state = _iteration(job, state, original, macs, goal, listener)
        _save(path, state)
    _save(path, state)
    if state.standing is None:
        if not state.iterations:  # nothing to go on from
            path.unlink(missing_ok=True)
            with suppress(OSError):
                job.work.rmdir()
        raise UnreachableError(f"Nothing was written: {state.ended}")
    return _write(job, original, state, samples, measured, listener)


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
    ratios = (left_after(step / iterations, budget.macs) for step in range(min(number, iterations), iterations + 1))
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


def _present(job: IterateSettings, state: Iterations, original: Analysis) -> Analysis:
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
    check_places(job, job.inputs)


def check_places(job: IterateSettings, inputs: Inputs) -> None:
    """Refuse places for the model and the work folder that are read, or one and the same.

    Raises:
        InputError: see above.
    """
    check_outputs({"the model": job.settings.written}, inputs)
    if is_null(job.work):
        if job.resume:
            raise InputError(f"Nothing is kept in {job.work} to resume from; name the folder with --work.")
        return
    check_folder("the work folder", job.work, inputs, alone=True)
    if job.work.resolve() == job.settings.written.resolve():
        raise InputError(f"The model and the work folder would both be {job.work}; name another with --work.")


def _begin(job: IterateSettings, original: Model) -> Iterations:
    """Return the state to go on from; without --resume nothing is written yet."""
    run_facts = job.to_json(original.digest)
    path = job.work / STATE
    if not job.resume:
        if path.exists():
            raise InputError(f"'{job.work}' is there already; go on with --resume, or remove it.")
        if job.work.exists():
            raise InputError(f"'{job.work}' is there already and is not of iterations; name a new folder with --work.")
        return Iterations(run_facts)
    fields = ITERATIONS.read(path)
    try:
        iterations = tuple(Iteration(**entry) for entry in fields.pop("iterations"))
        state = Iterations(**fields, iterations=iterations)
        if state.preprocess is not None:
            Preprocess.from_json(state.preprocess)
    except (KeyError, TypeError, AttributeError, ValueError, InputError) as error:
        raise ITERATIONS.damaged(path, error) from None
    ITERATIONS.check_run(path, state.run, run_facts)
    return state


def _samples(job: IterateSettings, original: Model, state: Iterations, listener: Listener) -> tuple[Samples, Samples]:
    """Open the data, and what the result is measured on, before any work is done with them.

    Raises:
        InputError: data that cannot be used, has no labels, or is not what the state is of.
    """
    settings = _settled(job.settings, state)
    listener.hear(Working("Opening the data"))
    session = open_session(original.proto, original.weights, name=str(original.path), threads=settings.threads)
    samples = scale_pixels(open_samples(settings, original), settings, session, listener.track)
    if samples.calibration.labels is None:
        raise InputError("Iterations need labels, to see what they lose; give one sub-folder per class, or y.")
    if state.data is not None and samples.calibration.digest() != state.data:
        raise InputError("The data is another than these iterations were begun with; give the same.")
    if samples.presets:
        listener.hear(DataOpened(samples))
    return samples, measured_on(job.measured, samples, settings, original)


def _begun(job: IterateSettings, state: Iterations, samples: Samples) -> Iterations:
    """Make the work folder and record what was found of the data, so that all iterations see the same."""
    data = samples.calibration
    state = replace(state, data=data.digest(), preprocess=None if data.preprocessed else data.preprocess.to_json())
    with explained(job.work):
        job.work.mkdir(parents=True)
    _save(job.work / STATE, state)
    return state


def _settled(settings: Settings, state: Iterations) -> Settings:
    """Return the settings with the pixels' treatment that was settled once, by the original."""
    if state.preprocess is None:
        return settings
    return replace(settings, preprocess=Preprocess.from_json(state.preprocess), scaling="explicit")


def _save(path: Path, state: Iterations) -> None:
    fields = asdict(state)
    ITERATIONS.save(path, fields.pop("run"), fields)


def _file(job: IterateSettings, number: int) -> Path:
    return job.work / f"{number:03}.onnx"


def _iteration(
    job: IterateSettings, state: Iterations, original: Model, macs: float, goal: Goal, listener: Listener
) -> Iterations:
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
        result = prune(settings, listener)
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
    job: IterateSettings,
    state: Iterations,
    number: int,
    original: Model,
    macs: float,
    result: Result,
    seconds: float,
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


def _write(
    job: IterateSettings, original: Model, state: Iterations, samples: Samples, measured: Samples, listener: Listener
) -> Iterated:
    """Measure the last result that stands against the original, and put it in its place."""
    settings = job.settings
    assert state.standing is not None
    final = load(_file(job, state.standing.number))
    session = open_session(final.proto, final.weights, name="the pruned model", threads=settings.threads)
    quality = Evaluator(settings, original, measured, listener.track).quality(session)
    written = settings.written
    with Staging() as staging:
        with explained(written):
            names = data_names(final.proto, final.weights, written, inputs=job.inputs)
            write_model(final.proto, final.weights, staging.folder(written) / written.name, names)
        staging.commit(last=written)
    return Iterated(
        settings.model,
        settings.method,
        state.before,
        state.iterations,
        state.ended,
        quality,
        samples.summary,
        written,
        job.work,
        job.measured is None,
        original.notes,
    )
