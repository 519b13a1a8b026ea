"""Entropy of feature maps for convolutions, incoming zeros for fully connected layers, class by class.

After Narkhede, Mahajan, Bartakke, Sutaone, "Towards compressed and efficient CNN architectures via pruning", Discover
Computing 2024. The formulas are our reading of it (after Luo & Wu 2017 and Hu et al. 2016); docs/methods/entropy.md
says what the paper states and what we chose.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.importance.conditional import conditional_entropies
from onnxprune.importance.method import Method, Setting, over_layers, register
from onnxprune.importance.notes import class_notes, unmeasured_note
from onnxprune.values.amount import percent
from onnxprune.values.axes import FloatArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import COVARIANCES, LayerStatistics, Scores, Statistics

CONDITIONAL = "conditional"
ENTROPY = {CONDITIONAL: COVARIANCES, "map": "map entropy", "gap": "gap entropy"}
HISTOGRAMS = ("map", "gap")
ZEROS = "zeros"
MAGNITUDE = "mean magnitude"

NOTED_CLIPPING = 0.01
"""Share of a layer's values outside its histograms' range from which the user is told."""
DECIMALS = 12


def relative_entropy(entropy: FloatArray, rule: str, q: float) -> FloatArray:
    """Score the channels of a convolution from their entropies, below 1 meaning below the layer's threshold.

    Args:
        entropy: H[c, j], [classes, channels].
        rule: `mean`: prune j iff mean_c H[c, j] < alpha * T with T = mean_c t[c] and t[c] = mean_j H[c, j].
            `vote`: prune j iff H[c, j] < alpha * t[c] for at least q * C of the C classes.
        q: share of the classes that have to agree under `vote`.

    Returns:
        s [channels] such that the rule prunes j iff s[j] < alpha: H averaged over the classes and divided by T, or the
        ceil(q C)-th smallest of H[c, j] / t[c] over the classes. A layer without any entropy scores 1 throughout.
    """
    if rule == "mean":
        threshold = entropy.mean()
        return _rounded(entropy.mean(axis=0) / threshold) if threshold > 0 else np.ones(entropy.shape[1])
    by_class = entropy.mean(axis=1, keepdims=True)
    ratios = np.divide(entropy, by_class, out=np.ones_like(entropy), where=by_class > 0)
    needed = min(len(ratios), max(1, math.ceil(q * len(ratios) - 1e-9)))
    return _rounded(np.sort(ratios, axis=0)[needed - 1])


def relative_activity(zeros: FloatArray) -> FloatArray:
    """Score hidden neurons from their share of zeros Z[c, j], [classes, neurons], below 1 meaning to be pruned.

    The rule prunes j iff mean_c Z[c, j] > mean_j of the same. With activity A = 1 - Z that is A[j] < mean A, so the
    score is A[j] / mean A. A layer in which every neuron is always silent scores 1 throughout.
    """
    activity = 1.0 - zeros.mean(axis=0)
    mean = activity.mean()
    return _rounded(activity / mean) if mean > 0 else np.ones_like(activity)


def relative_conditional(entropies: FloatArray) -> FloatArray:
    """Score channels from the entropy of each given those that stay longer, [channels], below 1 meaning to be pruned.

    With T the mean, a channel's share of the joint entropy of its layer, the rule prunes j iff H[j] < T + log alpha. So
    the score is exp(H[j] - T).
    """
    return _rounded(np.exp(entropies - entropies.mean()))


def _rounded(score: FloatArray) -> FloatArray:
    """Round away what the order of additions leaves, lest channels that are all equal lie below their own mean."""
    return np.asarray(np.round(score, DECIMALS))


def entropy_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups; a channel made by several layers (a residual stream) gets the mean over those layers.

    Layers whose output has a single position per channel count as fully connected: a histogram of one value says
    nothing. Ties are decided by mean magnitude.
    """
    present = statistics.present
    relative: dict[str, FloatArray] = {}
    magnitude: dict[str, FloatArray] = {}
    conditional = options["variant"] == CONDITIONAL
    maps = {name: layer for name, layer in statistics.layers.items() if layer.kind == "map"}
    for name, layer in statistics.layers.items():
        if layer.kind == "vector" or not conditional:
            relative[name] = _layer_score(layer, present, options)
        magnitude[name] = _normalised(layer.values[MAGNITUDE][present].mean(axis=0))
    values, ties, unmeasured = {}, {}, []
    for group in groups:
        entropies = conditional_entropies(group, maps) if conditional else None
        score = over_layers(group, relative) if entropies is None else relative_conditional(entropies)
        if score is None:
            unmeasured.append(group.name)
            score = np.ones(group.size)
        values[group.name] = _rounded(score)
        tie = over_layers(group, magnitude)
        ties[group.name] = np.zeros(group.size) if tie is None else tie
    return Scores(values, ties, _notes(statistics, unmeasured))


def _layer_score(layer: LayerStatistics, present: Any, options: Mapping[str, Any]) -> FloatArray:
    if layer.kind == "vector":
        return relative_activity(layer.values[ZEROS][present])
    entropy = layer.values[ENTROPY[options["variant"]]][present]
    return relative_entropy(entropy, options["rule"], options["q"])


def _normalised(magnitude: FloatArray) -> FloatArray:
    mean = magnitude.mean()
    return magnitude / mean if mean > 0 else np.zeros_like(magnitude)


def _notes(statistics: Statistics, unmeasured: list[str]) -> tuple[str, ...]:
    notes = [*class_notes(statistics), *unmeasured_note(unmeasured)]
    clipped = [name for name, layer in statistics.layers.items() if layer.clipped > NOTED_CLIPPING]
    if clipped:
        share = max(statistics.layers[name].clipped for name in clipped)
        notes.append(
            f"Up to {percent(share)} of the values lay outside the histograms' range in {len(clipped)} of "
            f"{len(statistics.layers)} layers (such as {clipped[0]}): the images may differ much from one another."
        )
    return tuple(notes)


register(
    Method(
        name="entropy",
        summary="Convolutions by the class-specific entropy of their feature maps, neurons by their zeros.",
        formula="conv: s_j = exp(H_j - mean_j H_j), H_j the entropy of x_j given its class and what stays;  neuron: "
        "s_j = A_j / mean_j A_j, A_j = 1 - mean_c Z[c,j]",
        source="Narkhede et al. 2024 (criteria stated; formulas our reading, after Luo & Wu 2017 and Hu et al. 2016)",
        cost="one pass over the data; 32 numbers per image and channel leave the runtime; cubic in a layer's channels",
        needs=lambda options: frozenset({ENTROPY[options["variant"]], ZEROS, MAGNITUDE}),
        score=entropy_scores,
        options={
            "variant": Setting(
                CONDITIONAL,
                "entropy given the class and the channels that stay, or of the histogram of one image's map, or of a "
                "class's spatial means",
                (CONDITIONAL, *HISTOGRAMS),
            ),
            "rule": Setting(
                "mean",
                "threshold on the mean over classes, or a vote of the classes (--vote)",
                ("mean", "vote"),
                switches={"vote": "vote"},
                only=("variant", HISTOGRAMS),
            ),
            "q": Setting(
                1.0,
                "share of the classes that have to agree under the vote",
                low=0.0,
                high=1.0,
                only=("rule", ("vote",)),
            ),
        },
        threshold=1.0,
    )
)
