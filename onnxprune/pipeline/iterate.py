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

import attrs

from onnxprune._version import __version__
from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.inspect import inspect
from onnxprune.data import refuse_missing
from onnxprune.errors import InputError, UnreachableError
from onnxprune.finetune.installed import require_torch
from onnxprune.graph.loaded import Model, load
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.measures import count_params
from onnxprune.graph.storage.paths import check_folder, check_input, check_outputs, data_names
from onnxprune.graph.storage.places import is_null
from onnxprune.graph.storage.resumable import Resumable
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.staging import Staging, explained
from onnxprune.importance.method import find_method, with_threshold
from onnxprune.latency.device import Device
from onnxprune.pipeline.config.jobs import IterateConfig, PruneConfig
from onnxprune.pipeline.evaluator import Evaluator
from onnxprune.pipeline.events import NULL_LISTENER, DataOpened, IterationBegun, Listener, Working
from onnxprune.pipeline.execution.retrain import TRAINED, check_retraining
from onnxprune.pipeline.planning.latency import with_width_block
from onnxprune.pipeline.planning.widths import policy_of, refuse_unreachable
from onnxprune.pipeline.prune import prune
from onnxprune.pipeline.samples import Samples, measured_on, open_samples, scale_pixels
from onnxprune.runtime import open_session
from onnxprune.selection.budget import Budget
from onnxprune.selection.goal import Goal
from onnxprune.selection.schedule import left_after
from onnxprune.selection.steering import widths_by_place
from onnxprune.values.amount import percent
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
    """Where the run stands: `before` is the original's top-1, `data` the digests of what was read."""

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


def iterate(config: IterateConfig, listener: Listener = NULL_LISTENER) -> Iterated:
    """Prune and train in turns, and write the last result that stands.

    Raises:
        InputError: bad input or usage, torch is missing, or the state is of another run.
        UnreachableError: no iteration stands.
        VerificationError: a result failed its check.
    """
    _check(config)
    if not is_null(config.work_folder):
        return _iterate(config, listener)
    with TemporaryDirectory(prefix="onnxprune-", ignore_cleanup_errors=True) as folder:
        return replace(_iterate(attrs.evolve(config, work=Path(folder) / "work"), listener), folder=None)


def _iterate(config: IterateConfig, listener: Listener) -> Iterated:
    """Do what `iterate` does, in the work folder."""
    whole = with_width_block(config.pruning.goal, Device(config.threads), listener)
    original = load(config.model)
    analysis = inspect(original, allow=config.allow)
    refuse_unreachable(analysis, whole, {})
    macs = analysis.macs()
    check_retraining(config.pruning, original)
    _check_budget(config)
    state, path = _begin(config, _run_facts(config, whole, original)), config.work_folder / STATE
    samples, measured = _samples(config, original, state, listener)
    if not config.resume:
        state = _begun(config, state, samples)
    while not state.ended:
        number = len(state.iterations) + 1
        share = 1.0 if state.standing is None else state.standing.macs
        budget = part(whole.budget, number, config.iterations, share)
        goal = goal_of(whole, budget, number, config.iterations, _present(config, state, analysis), analysis)
        if goal is None or number > (MOST if whole.budget.macs is None else config.iterations):
            state = replace(state, ended=_enough(whole, number - 1))
            break
        listener.hear(IterationBegun(number))
        state = _iteration(config, state, original, macs, goal, listener)
        _save(path, state)
    _save(path, state)
    if state.standing is None:
        if not state.iterations:  # nothing to go on from
            path.unlink(missing_ok=True)
            with suppress(OSError):
                config.work_folder.rmdir()
        raise UnreachableError(
            f"Nothing was written: {state.ended}", "loss-too-high" if state.iterations else "nothing-to-prune"
        )
    return _write(config, original, state, samples, measured, listener)


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


def _present(config: IterateConfig, state: Iterations, original: Analysis) -> Analysis:
    """Return the network that the next iteration begins with; only where single layers are steered is it another."""
    if state.standing is None or not config.pruning.goal.steering.ratios:
        return original
    return inspect(load(_file(config, state.standing.number), is_step=True), allow=config.allow)


def _check(config: IterateConfig) -> None:
    require_torch()
    method = find_method(config.method)
    policy_of(method, method.settle(config.options), config.policy)
    check_input(config.model)
    check_outputs({"the model": config.written}, config.inputs)
    for data in (config.data, config.val, config.test):
        if data is not None:
            refuse_missing(data)
    if config.val is not None and config.val.resolve() == config.data.resolve():
        raise InputError(
            f"--val and --data are both {config.val}, and what is trained on cannot hold the floor; leave --val out to "
            "part the data.",
            "conflicting-options",
        )
    folder = config.work_folder
    if is_null(folder):
        if config.resume:
            raise InputError(
                f"Nothing is kept in {folder} to resume from; name the folder with --work.", "nothing-to-resume"
            )
        return
    check_folder("the work folder", folder, config.inputs, alone=True)
    if folder.resolve() == config.written.resolve():
        raise InputError(
            f"The model and the work folder would both be {folder}; name another with --work.", "would-overwrite"
        )


def _check_budget(config: IterateConfig) -> None:
    """Refuse a method without a threshold where nothing says how much is to be left."""
    method = find_method(config.method)
    if config.macs is None and method.threshold is None and not config.ratio_for:
        raise InputError(
            f"Method {method.name} only ranks channels: say with --macs how much is to be left, or choose one that has "
            f"a threshold with --method: {with_threshold()}.",
            "missing-option",
        )


def _run_facts(config: IterateConfig, goal: Goal, original: Model) -> dict[str, Any]:
    """Return what tells this run from others: a state of another run is not gone on from."""
    return {
        "version": __version__,
        "model": original.digest,
        "method": config.method,
        "options": find_method(config.method).settle(config.options),
        "budget": goal.budget.to_json(),
        "policy": goal.policy,
        "single layers": goal.steering.to_json(),
        "iterations": config.iterations,
        "floor": config.floor,
        "round_to": goal.round_to,
        "recovery": config.recovered_by,
        "allowed": list(config.allow),
        "training": config.recipe.to_json(),
        "classes": list(config.classes),
        "holdout": config.holdout,
        "seed": config.seed,
    }


def _begin(config: IterateConfig, run_facts: Mapping[str, Any]) -> Iterations:
    """Return the state to go on from; without --resume nothing is written yet."""
    path = config.work_folder / STATE
    if not config.resume:
        if path.exists():
            raise InputError(
                f"'{config.work_folder}' is there already; go on with --resume, or remove it.", "already-there"
            )
        if config.work_folder.exists():
            raise InputError(
                f"'{config.work_folder}' is there already and is not of iterations; name a new folder with --work.",
                "already-there",
            )
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


def _samples(config: IterateConfig, original: Model, state: Iterations, listener: Listener) -> tuple[Samples, Samples]:
    """Open the data, and what the result is measured on, before any work is done with them.

    Raises:
        InputError: data that cannot be used, has no labels, or is not what the state is of.
    """
    opening = _settled(config.pruning, state)
    listener.hear(Working("Opening the data"))
    session = open_session(original.proto, original.weights, name=str(original.path), threads=config.threads)
    samples = scale_pixels(open_samples(opening, original), opening, session, listener.track)
    for option, data in (("--data", samples.calibration), ("--val", samples.measured)):
        if data.labels is None:
            raise InputError(
                f"Iterations need labels, to see what they lose, and the data of {option} have none; give one "
                "sub-folder per class, or y.",
                "no-labels",
            )
    if state.data is not None and _digest(samples) != state.data:
        differ = " or ".join(part for part in ("--data", "--val") if part == "--data" or config.val is not None)
        raise InputError(
            f"The data of {differ} are others than these iterations were begun with; give the same.", "other-run"
        )
    if samples.presets:
        listener.hear(DataOpened(samples))
    return samples, measured_on(config.test, samples, opening, original)


def _digest(samples: Samples) -> str:
    """Return the digest of the data, and of the validation data where they are of their own."""
    return " ".join(data.digest() for data in (samples.calibration, samples.test) if data is not None)


def _begun(config: IterateConfig, state: Iterations, samples: Samples) -> Iterations:
    """Make the work folder and record what was found of the data, so that all iterations see the same."""
    data = samples.calibration
    state = replace(state, data=_digest(samples), preprocess=None if data.preprocessed else data.preprocess.to_json())
    with explained(config.work_folder):
        config.work_folder.mkdir(parents=True)
    _save(config.work_folder / STATE, state)
    return state


def _settled(pruning: PruneConfig, state: Iterations) -> PruneConfig:
    """Return the configuration with the pixels' treatment that was settled once, by the original."""
    if state.preprocess is None:
        return pruning
    return attrs.evolve(pruning, preprocess=Preprocess.from_json(state.preprocess))


def _save(path: Path, state: Iterations) -> None:
    fields = asdict(state)
    ITERATIONS.save(path, fields.pop("run"), fields)


def _file(config: IterateConfig, number: int) -> Path:
    return config.work_folder / f"{number:03}.onnx"


def _iteration(
    config: IterateConfig, state: Iterations, original: Model, macs: float, goal: Goal, listener: Listener
) -> Iterations:
    """Do one iteration and return the state after it."""
    start = time.perf_counter()
    number = len(state.iterations) + 1
    standing = state.standing
    pruning = attrs.evolve(
        _settled(config.pruning, state),
        model=config.model if standing is None else _file(config, standing.number),
        output=_file(config, number),
        goal=goal if goal.explicit else replace(goal, budget=replace(goal.budget, alpha=1.0)),
        teacher=config.model,
        force=True,
    )
    try:
        result = prune(pruning, listener)
    except UnreachableError as error:
        none_below = error.code == "nothing-to-prune" and config.macs is None and bool(state.iterations)
        return replace(
            state, ended=f"No channel is below the threshold of {config.method}." if none_below else str(error)
        )
    if state.before is None:
        state = replace(state, before=_before(result))
    found = _facts(config, state, number, original, macs, result, time.perf_counter() - start)
    ended = ""
    if not found.kept:
        _remove(_file(config, number))
        ended = (
            f"Iteration {number} was undone: top-1 on the validation data fell from {100 * (state.before or 0):.1f} to "
            f"{percent(found.trained)}, by more than --floor allows."
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
    config: IterateConfig,
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
    stages = [step for step in quality.steps if step.name != TRAINED]
    taken = next((step.top1 for step in stages if step.taken), None) if len(stages) > 1 else None
    return Iteration(
        number,
        macs=after.macs / macs,
        params=after.params / max(1, count_params(original.proto)),
        channels=result.plan.removed,
        cut=steps.get("cut"),
        recovered=taken,
        trained=quality.after.top1,
        kept=quality.after.top1 >= state.before - config.floor - EXACT,
        seconds=seconds,
    )


def _enough(goal: Goal, done: int) -> str:
    budget = goal.budget
    if goal.steering.ratios and not budget.explicit and done < MOST:
        return "What was asked of single layers was reached."
    if budget.macs is None:
        return f"{done} iterations are the most that are done."
    return f"The budget of {percent(budget.macs)} of the MACs was reached."


def _write(
    config: IterateConfig, original: Model, state: Iterations, samples: Samples, measured: Samples, listener: Listener
) -> Iterated:
    """Measure the last result that stands against the original, and put it in its place."""
    assert state.standing is not None
    final = load(_file(config, state.standing.number), is_step=True)
    session = open_session(final.proto, final.weights, name="the pruned model", threads=config.threads)
    quality = Evaluator(config.pruning, original, measured, listener.track).quality(session)
    written = config.written
    with Staging() as staging:
        with explained(written):
            names = data_names(final.proto, final.weights, written, inputs=config.inputs)
            write_model(final.proto, final.weights, staging.folder(written) / written.name, names)
        staging.commit(last=written, kept=bool(names))
    return Iterated(
        config.model,
        config.method,
        state.before,
        state.iterations,
        state.ended,
        quality,
        samples.summary,
        written,
        config.work_folder,
        config.test is None,
        original.notes,
    )
