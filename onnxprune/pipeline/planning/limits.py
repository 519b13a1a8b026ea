"""Limits on what may be lost: which there are, what a measured result says of them, and what is said of that."""

from onnxprune.errors import InputError, UnreachableError
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.samples import Samples
from onnxprune.selection.loss_limits import CLASS_DROP, MAX_DRIFT, MAX_DROP, LossLimits

DROP, DRIFT = 0.01, 0.1
"""The limits where nothing is asked for: of top-1, and without labels of the change of the outputs."""


def check_limits(config: PruneConfig, samples: Samples | None) -> None:
    """Refuse limits that nothing could be held against, before any model is run.

    Raises:
        InputError: see above.
    """
    for limit, option in ((config.max_class_drop, "--max-class-drop"), (config.max_drop, "--max-drop")):
        check_class_drop(limit, samples, measured=config.check_accuracy, option=option)
    if config.max_drift is not None and samples is None:
        raise InputError(
            "--max-drift compares outputs on samples; name a folder of images or an .npz file with --data.",
            "no-data",
        )


def limits_of(config: PruneConfig, samples: Samples | None) -> LossLimits | None:
    """Return the limits that were asked for, or where nothing was the default; None: what is lost is as it is."""
    given = {MAX_DROP: config.max_drop, MAX_DRIFT: config.max_drift, CLASS_DROP: config.max_class_drop}
    limits = {name: limit for name, limit in given.items() if limit is not None}
    if samples is None or not config.chosen_by_loss:
        return None
    if config.explicit:
        return LossLimits(limits)
    default = {MAX_DROP: DROP} if has_labels(config, samples) else {MAX_DRIFT: DRIFT}
    return LossLimits({**default, **limits}, by_default=True, refuses_collapse=not config.force)


def refuse_alike(run: Run) -> None:
    """Refuse to choose by outputs that hardly vary over the samples.

    Raises:
        UnreachableError: they do, and plans are to be chosen by what they do to them.
    """
    said = None if run.samples is None else run.samples.alike
    if said is not None and run.limits is not None and not run.config.force:
        raise UnreachableError(
            f"These samples cannot judge: {said}, so whatever is cut looks free. Give samples that the model tells "
            "apart, like those that it is for, or --force to choose by these.",
            "outputs-alike",
        )


def drop_limit(config: PruneConfig) -> float | None:
    """Return the most that top-1 may lose, on data with labels; None: any."""
    if not config.chosen_by_loss or not config.check_accuracy:
        return None
    return DROP if config.max_drop is None and not config.explicit else config.max_drop


def has_labels(config: PruneConfig, samples: Samples) -> bool:
    """Whether top-1 is measured."""
    labelled = samples.tried_on.labels is not None and samples.measured.labels is not None
    return labelled and config.check_accuracy


def check_class_drop(
    limit: float | None, samples: Samples | None, *, measured: bool, option: str = "--max-class-drop"
) -> None:
    """Refuse a limit that nothing could be held against, before any work is done.

    Args:
        limit: the most that a class may lose of its recall, or all together of top-1, as a share; None: any.
        samples: the data.
        measured: whether accuracy is to be measured on it.
        option: that asks for it.

    Raises:
        InputError: the limit is no share, or there are no labels to measure classes by.
    """
    if limit is None:
        return
    if not 0 <= limit <= 1:
        raise InputError(
            f"The most that a class may lose is a share of its images from 0 to 1, not {limit:g}.", "bad-value"
        )
    if samples is None or samples.tried_on.labels is None or samples.measured.labels is None or not measured:
        by_class = " by class" if option == "--max-class-drop" else ""
        missing = "--no-accuracy-check measures none" if samples is not None and not measured else "there are no labels"
        raise InputError(
            f"{option} needs the accuracy{by_class}, but {missing}; "
            "give data with one sub-folder per class, or with y.",
            "no-labels",
        )
