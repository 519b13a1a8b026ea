"""Opening a run: each check and each file once, cheap ones first."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import attrs

from onnxprune.analysis.analysis import counts
from onnxprune.analysis.inspect import inspect
from onnxprune.errors import InputError
from onnxprune.graph.finite import odd_weight
from onnxprune.graph.loaded import load, with_shapes
from onnxprune.graph.storage.paths import check_input, check_outputs
from onnxprune.graph.storage.staging import Staging
from onnxprune.importance.method import find_method
from onnxprune.importance.score_file import ScoreFile, read_score_file
from onnxprune.latency.device import Device
from onnxprune.linear.blas import one_thread
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.context import ConfiguredMethod, Run
from onnxprune.pipeline.events import NULL_LISTENER, Analysed, DataOpened, LeastLeft, Listener, Working
from onnxprune.pipeline.execution.arranging import arranged, arranged_as
from onnxprune.pipeline.execution.cut import check_made_for
from onnxprune.pipeline.execution.quantize import check_quantizing, try_quantizing
from onnxprune.pipeline.execution.retrain import check_retraining
from onnxprune.pipeline.extra import Extra, no_extra
from onnxprune.pipeline.outline import seconds_of_a_pass
from onnxprune.pipeline.planning.latency import time_network
from onnxprune.pipeline.planning.limits import check_limits, drop_limit, limits_of
from onnxprune.pipeline.planning.plans import class_masks, recovery_settings, versions
from onnxprune.pipeline.planning.scoring import check_gradients
from onnxprune.pipeline.planning.widths import check_threshold, least_left, policy_of, refuse_unreachable
from onnxprune.pipeline.samples import free_sizes, open_samples, scale_pixels
from onnxprune.pipeline.state import open_state, read_state
from onnxprune.runtime import open_session
from onnxprune.runtime.custom_ops import custom_ops
from onnxprune.selection.loss_limits import MAX_DRIFT, MAX_DROP
from onnxprune.values.plan import INPUT_SHAPE, PROTECT, Plan


@contextmanager
def open_run(config: PruneConfig, listener: Listener = NULL_LISTENER, extra: Extra = no_extra) -> Iterator[Run]:
    """Open a run that prunes: refuse what cannot be, read the model and the data, time what is to be timed.

    Args:
        config: what it is told.
        listener: hears what is done.
        extra: makes what is written beside the model.

    Raises:
        InputError: bad input or usage.
        UnreachableError: a budget that cannot be met.
    """
    method = _checked(config)
    state = None if config.journal is None else read_state(config.journal, resume=config.resume)
    with _opened(config, method, listener, extra, config.outputs) as run:
        _check_training_and_quantizing(run)
        if config.scores is not None:
            imported = read_score_file(config.scores, run.analysis.prunable, run.model.digest)
            run = replace(run, imported=imported, method=ConfiguredMethod(imported.method, imported.options))
            _check_masks(config, imported)
        masks_alone = run.imported is not None and run.imported.masks_alone
        if _has_data(config) or (run.imported is None and method.needs_data):
            run = _with_samples(run, chosen_by_loss=config.chosen_by_loss and not masks_alone, limit=drop_limit(config))
        check_limits(config, run.samples)
        run = _timed(_branches_settled(run))
        listener.hear(LeastLeft(least_left(run.analysis, run.goal)))
        refuse_unreachable(run.analysis, run.goal, counts(class_masks(run.analysis, run.class_outputs)))
        run = _original_checked(run)
        run = replace(run, limits=limits_of(config, run.samples))
        searches = run.limits is not None and not config.goal.budget.explicit
        if config.journal is not None and run.imported is None and not searches:  # a search is no sequence of steps
            run = replace(run, state=open_state(config.journal, state, _run_facts(run), run.analysis.free))
        with arranged(run) if run.imported is None else arranged_as(run, run.imported.arrangement) as found:
            yield found


@contextmanager
def open_replay(config: PruneConfig, plan: Plan, listener: Listener, extra: Extra) -> Iterator[Run]:
    """Open a run that applies a plan.

    Raises:
        InputError: the plan's classes are not those of the data; else as `open_run`.
    """
    config = attrs.evolve(
        config,
        classes=tuple(plan.classes),
        protect=tuple(plan.request.get(PROTECT, ())) if config.data is not None else (),
        trim_head=bool(plan.request.get("trim_head")),
        allow=plan.request.get("allow", ()),
        input_shape=plan.request.get(INPUT_SHAPE, {}),
    )
    outputs = {**config.outputs, "the plan": None}  # it is not written
    method = ConfiguredMethod(find_method(config.method), {})
    with _opened(config, method, listener, extra, outputs) as run:
        _check_training_and_quantizing(run)
        if config.data is not None:  # limits were held on a part of the data that no score saw, as here
            chosen = bool({MAX_DROP, MAX_DRIFT} & set(plan.request))
            run = _with_samples(run, chosen_by_loss=chosen, limit=plan.request.get(MAX_DROP), planned=True)
            if run.classes != plan.classes:
                raise InputError(
                    f"The plan's classes are the outputs {_listed(plan.classes)} of the model, in this data "
                    f"{_listed(run.classes)}; give the --labels that the plan was made with.",
                    "bad-labels",
                )
            run = _original_checked(run)
        check_made_for(run.model, plan)
        with arranged_as(run, plan.arrangement) as found:
            yield found


def _checked(config: PruneConfig) -> ConfiguredMethod:
    """Refuse what cannot be, before anything is read; return what channels are to be ranked by.

    Raises:
        InputError: see above.
    """
    method = find_method(config.method)
    options = method.settle(config.options)
    if config.scores is None:
        check_threshold(method, config.goal.budget.alpha)
        check_gradients(method, options)
    policy_of(method, options, config.goal.policy)
    recovery_settings(config.recovered_by)
    if config.labels is not None and not config.labels.exists():
        raise InputError(f"there is no file '{config.labels}' of --labels: check the path", "missing-file")
    return ConfiguredMethod(method, options)


def _check_masks(config: PruneConfig, imported: ScoreFile) -> None:
    """Refuse what has no say where a file brings keep masks and no scores.

    Raises:
        InputError: see above.
    """
    if not imported.masks_alone:
        return
    if config.explicit or config.pareto is not None:
        what = "budget" if config.explicit else "curve"
        raise InputError(
            f"{config.scores} has keep masks and no scores, so no {what} can be given beside it.", "conflicting-options"
        )
    if config.scores_output is not None:
        raise InputError(
            f"{config.scores} has keep masks and no scores, so there are none to save.", "conflicting-options"
        )


def _check_training_and_quantizing(run: Run) -> None:
    check_retraining(run.config, run.model)
    check_quantizing(run.config, run.model)


@contextmanager
def _opened(
    config: PruneConfig,
    method: ConfiguredMethod,
    listener: Listener,
    extra: Extra,
    outputs: Mapping[str, Path | None],
) -> Iterator[Run]:
    """Read and analyse the model, after making sure that nothing that is read would be overwritten."""
    check_input(config.model)
    check_outputs(outputs, config.inputs)
    if config.custom_ops and config.goal.budget.latency is not None:
        raise InputError(
            "--latency times layers one by one, which does not go with --custom-ops; give another budget.",
            "conflicting-options",
        )
    listener.hear(Working("Reading the model"))
    model = load(config.model, config.input_shape)
    odd = odd_weight(model.graph)
    if odd:
        raise InputError(f"The original is broken: {odd}; train or export it again.", "invalid-model")
    analysis = inspect(model, allow=config.allow, trim_head=config.trim_head)
    listener.hear(Analysed(analysis))
    with one_thread(), custom_ops(config.custom_ops), Staging() as staging:
        yield Run(config, config.goal, listener, extra, staging, model, analysis, method)


def _has_data(config: PruneConfig) -> bool:
    """Whether anything is named that is data, or makes sense with data alone."""
    return config.data is not None or config.test is not None or bool(config.classes or config.protect)


def _with_samples(run: Run, *, chosen_by_loss: bool, limit: float | None, planned: bool = False) -> Run:
    """Open the data, and part them, before anything is run on them."""
    run.working("Opening the data")
    samples = open_samples(run.config, run.model, chosen_by_loss=chosen_by_loss, limit=limit, planned=planned)
    return _with_sizes_of(replace(run, samples=samples))


def _with_sizes_of(run: Run) -> Run:
    """Take free sizes of the inputs for those of the samples, where nothing else was said."""
    free = {} if run.config.input_shape else free_sizes(run.model, run.calibration_samples)
    if not free:
        return run
    model = with_shapes(run.model, free)
    analysis = inspect(model, allow=run.config.allow, trim_head=run.config.trim_head)
    run.listener.hear(Analysed(analysis))
    return replace(run, model=model, analysis=analysis)


def _original_checked(run: Run) -> Run:
    """Find out how pixels are scaled and how good the original is.

    The session that this takes does not outlive it, as no two large ones should live at once.
    """
    if run.samples is None:
        return run
    config, model = run.config, run.model
    session = open_session(model.proto, model.weights, name=str(config.model), threads=config.threads)
    run = replace(run, samples=scale_pixels(run.samples, config, session, run.listener.track))
    run = replace(run, pass_seconds=seconds_of_a_pass(session, run.calibration_samples.calibration))
    del session
    run.listener.hear(DataOpened(run.calibration_samples))
    if config.quantize is not None:
        run.working("Trying to quantize the original")
        try_quantizing(run)
    return run


def _branches_settled(run: Run) -> Run:
    """Say whether branches may go, which takes samples and a single step.

    Raises:
        InputError: they are to go, and that cannot be.
    """
    missing = (
        "What a branch does is seen on samples; name a folder of images or an .npz file with --data"
        if run.samples is None
        else "Branches go in one step; leave out --steps"
        if run.config.steps > 1
        else None
    )
    if missing is not None and run.goal.branches in ("allowed", "only"):
        raise InputError(
            f"{missing}, or give --branches never.", "no-data" if run.samples is None else "conflicting-options"
        )
    return run if missing is None else replace(run, goal=replace(run.goal, branches="never"))


def _timed(run: Run) -> Run:
    """Find out what a run goes by of latency, and the width block."""
    device = Device(run.config.threads)
    analysis, goal, timing = time_network(
        run.model, run.analysis, run.goal, run.config.latency_table, device, run.listener
    )
    return replace(run, analysis=analysis, goal=goal, timing=timing)


def _run_facts(run: Run) -> dict[str, Any]:
    """Return what the masks of a run follow from, by names that people know: its state is of no other run."""
    config, data = run.config, run.data_facts
    return {
        "model": run.model.digest,
        "data": data.get("digest"),
        **({"samples of other classes": data["others"]} if "others" in data else {}),
        "preprocessing": data.get("preprocess"),
        "classes": dict(run.classes),
        "protected classes": [] if run.samples is None else list(run.samples.protected_names),
        "method": run.method.name,
        "method settings": dict(run.method.options),
        **run.goal.to_json(),
        "steps": config.steps,
        "recovery": config.recovered_by,
        "allowed": list(config.allow),
        "trim_head": config.trim_head,
        "seed": config.seed,
        "batch_size": config.batch_size,
        "threads": config.threads,
        "versions": versions(),
    }


def _listed(classes: Mapping[str, int]) -> str:
    return ", ".join(f"{output} ({name})" for name, output in classes.items())
