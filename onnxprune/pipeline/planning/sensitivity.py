"""How much every group matters, measured: it alone loses channels, and the change of the outputs is looked at.

What was measured is kept by the model, the data and the way in which the channels were ranked, so that the next run has
it at once, see `cache`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from onnxprune._version import __version__
from onnxprune.analysis.analysis import Analysis
from onnxprune.data import Dataset, take
from onnxprune.evaluation import drift
from onnxprune.graph.storage.cache import read_cache, write_cache
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.graph.storage.measures import digest
from onnxprune.runtime import Session, open_session
from onnxprune.selection.masks import keep_best
from onnxprune.selection.measured import measured_counts, measured_curve
from onnxprune.surgery.cut import cut
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import Scores

SAMPLES = 128
"""Samples that the outputs are compared on."""

Changes = Mapping[int, float]
"""By width the relative change of the outputs."""


def with_sensitivity(
    scores: Scores,
    analysis: Analysis,
    dataset: Dataset,
    ranked_by: Mapping[str, Any],
    *,
    seed: int = 0,
    track: Track = silent,
) -> Scores:
    """Return the scores with curves of what was measured.

    Args:
        scores: which channels go first.
        analysis: the network.
        dataset: what it is run on, `SAMPLES` of it at most.
        ranked_by: what the scores are from, as JSON types: together with the network, the data and the seed that tells
            measurements apart.
        seed: of the choice of samples.
        track: receives progress.

    Raises:
        InputError: the network cannot be run on the samples.
    """
    some = take(dataset, min(SAMPLES, len(dataset)), seed)
    key = {
        "version": __version__,
        "model": digest(analysis.graph.model, analysis.graph.weights),
        "groups": {group.name: group.size for group in analysis.prunable},  # --allow opens more of them
        "data": some.digest(),
        "preprocess": None if some.preprocessed else some.preprocess.to_json(),
        "ranked_by": dict(ranked_by),
        "seed": seed,
    }
    known = _sound(read_cache("sensitivity", key))
    if known is None:
        known = measure(scores, analysis, some, track)
        write_cache("sensitivity", key, known)
    curves = {group.name: measured_curve(group.size, known[group.name]) for group in analysis.prunable}
    return replace(scores, curves=curves)


def measure(scores: Scores, analysis: Analysis, dataset: Dataset, track: Track = silent) -> dict[str, Changes]:
    """Return by group how far the outputs move at some of its widths, all other groups whole."""
    graph = analysis.graph
    original = open_session(graph.model, graph.weights, name="the model")
    found: dict[str, Changes] = {}
    groups = ((group,) for group in analysis.prunable)
    for (group,) in track(groups, total=len(analysis.prunable), what="Measuring groups"):
        found[group.name] = {
            count: _change(original, analysis, scores, group, count, dataset) for count in measured_counts(group.size)
        }
    return found


def _change(
    original: Session, analysis: Analysis, scores: Scores, group: ChannelGroup, count: int, dataset: Dataset
) -> float:
    result = cut(analysis, keep_best(scores, {group.name: count}))
    with on_disk(result.model, result.weights, None) as (model, weights):
        return drift(original, open_session(model, weights, name="the cut model"), dataset).worst


def _sound(found: Any) -> dict[str, Changes] | None:
    """Return what a file held as what it was; None where it is something else."""
    try:
        return {name: {int(c): float(v) for c, v in changes.items()} for name, changes in found.items()}
    except (ValueError, TypeError, AttributeError):
        return None
