"""Scoring channels: the statistics that a method needs, and its scores."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.calibration.collect import collect as collect_statistics
from onnxprune.data import Dataset
from onnxprune.errors import InputError
from onnxprune.finetune.installed import require_torch
from onnxprune.importance import DEFAULT_METHOD
from onnxprune.importance.checking import check_scores
from onnxprune.importance.method import Method, find_method
from onnxprune.pipeline.planning.widths import policy_of
from onnxprune.selection.loss import loss_curves
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import COARSE_MOMENTS, FISHER, GRADIENTS, Scores, Statistics


def collect(  # noqa: PLR0913 (every setting has its default)
    analysis: Analysis,
    dataset: Dataset | None,
    method: str = DEFAULT_METHOD,
    options: Mapping[str, Any] | None = None,
    *,
    batch_size: int = 32,
    seed: int = 0,
    track: Track = silent,
    widths: bool = True,
    policy: str | None = None,
) -> Statistics:
    """Gather the statistics that `method` needs over `dataset`, and what the widths under a budget of MACs follow from.

    Args:
        analysis: of the model, see `inspect`.
        dataset: the samples, see `open_data`; None: there are none.
        method: what channels are ranked by, by name.
        options: the method's settings.
        batch_size: samples per call, where the model leaves the batch open.
        seed: of the positions that are sampled.
        track: receives progress.
        widths: whether a budget is to be shared out by these statistics as well.
        policy: that shares it out, by name; None: as the method says.

    Raises:
        InputError: the method needs data and there is none.
    """
    chosen = find_method(method)
    settled = chosen.settle(options or {})
    losses = widths and policy_of(chosen, settled, policy).curves == "losses"
    return gather(analysis, dataset, chosen, settled, losses=losses, batch_size=batch_size, seed=seed, track=track)


def check_gradients(method: Method, options: Mapping[str, Any]) -> None:
    """Make sure that torch is there where a method scores by gradients.

    Raises:
        InputError: it is not.
    """
    if method.needs(options) & (GRADIENTS | {FISHER}):
        require_torch()


def gather(  # noqa: PLR0913 (what a run has settled)
    analysis: Analysis,
    dataset: Dataset | None,
    method: Method,
    options: Mapping[str, Any],
    *,
    losses: bool,
    batch_size: int,
    seed: int,
    track: Track,
) -> Statistics:
    """Gather what a method needs with these options, all of which are settled, and with `losses` what curves need.

    Raises:
        InputError: the method needs data and there is none.
    """
    if dataset is None and method.needs_data(options):
        raise InputError(f"Method {method.name} needs sample data; name a folder with --data.", "no-data")
    needs = method.needs(options) | ({COARSE_MOMENTS} if losses else frozenset())
    check_gradients(method, options)
    forwards = needs - GRADIENTS - {FISHER}
    found = collect_statistics(analysis, dataset, forwards, batch_size=batch_size, seed=seed, track=track)
    if FISHER in needs and dataset is not None:
        from onnxprune.finetune.fisher import with_fisher

        found = with_fisher(found, analysis, dataset, batch_size=batch_size, seed=seed, track=track)
    if needs & GRADIENTS:
        from onnxprune.finetune.gradients import with_gradients

        found = with_gradients(found, analysis, dataset, needs & GRADIENTS, batch_size=batch_size, track=track)
    return found


def score(
    analysis: Analysis,
    statistics: Statistics,
    method: str = DEFAULT_METHOD,
    options: Mapping[str, Any] | None = None,
    *,
    policy: str | None = None,
    seed: int = 0,
) -> Scores:
    """Score every channel of every prunable group: higher = keep. Where the statistics allow it, curves come with them.

    Args:
        analysis: of the model, see `inspect`.
        statistics: what `collect` gathered for the same method.
        method: what channels are ranked by, by name.
        options: the method's settings.
        policy: how a budget is shared out, by name, which may take curves; None: as the method says.
        seed: of all chance.

    Returns:
        By group: scores [channels], and curves [channels + 1], what is lost with so many channels gone.

    Raises:
        InputError: the statistics do not suit the method, or a method of another package returns no sound scores.
    """
    chosen = find_method(method)
    settled = chosen.settle(options or {})
    losses = policy_of(chosen, settled, policy).curves == "losses"
    return rank(analysis, statistics, chosen, settled, losses=losses, seed=seed)


def rank(
    analysis: Analysis,
    statistics: Statistics,
    method: Method,
    options: Mapping[str, Any],
    *,
    losses: bool,
    seed: int,
) -> Scores:
    """Score every channel by a method with these options, all of which are settled, and with `losses` add curves.

    Raises:
        InputError: as `score`.
    """
    found = method.score(analysis.prunable, statistics, options, np.random.default_rng(seed))
    check_scores(found, analysis.prunable, f"Method {method.name}", curves=method.policy(options) == "greedy")
    if not losses:
        return found
    return replace(found, curves=loss_curves(analysis.prunable, found, statistics.consumers, method.widths))
