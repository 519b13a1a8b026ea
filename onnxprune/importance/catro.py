"""CATRO: channels by how well they tell the classes apart, jointly per layer, then across layers.

After Hu et al., "CATRO: Channel Pruning via Class-Aware Trace Ratio Optimization", IEEE TNNLS 2023. What the paper
states and what is our reading of it stands in docs/methods/catro.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.errors import InputError
from onnxprune.importance.conditional import Worth, residuals, worth_by_channel
from onnxprune.importance.method import Method, Setting, register
from onnxprune.importance.notes import class_notes, unmeasured_note
from onnxprune.values.axes import BoolArray, FloatArray, IntArray, frozen_array
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import (
    COVARIANCES,
    MEAN_COVARIANCES,
    VECTOR_COVARIANCES,
    LayerStatistics,
    Scores,
    Statistics,
)

Scatters = tuple[FloatArray, FloatArray]
"""Between and within the classes, each [channels]."""

FEATURES = {"map": ("position sums", "squares"), "gap": ("mean sums", "mean squares")}
TOGETHER = {"map": (COVARIANCES, VECTOR_COVARIANCES), "gap": (MEAN_COVARIANCES,)}
"""What says how the features of channels vary together within the classes; a layer has one of them."""

EPSILON = 0.01
"""Added to a layer's share of discrimination before the logarithm, so that an empty layer has a finite value."""

MOST_RATIO = 100.0
"""Largest trace ratio by which a layer counts."""


def scatter(sums: FloatArray, squares: FloatArray, samples: IntArray) -> Scatters:
    """Return between-class and within-class scatter of every channel, each [channels].

    Args:
        sums: of x over the images of a class, [classes, channels, positions].
        squares: of x^2 over the images of a class and all positions, [classes, channels].
        samples: images of each class, [classes]; classes without images have no say.

    Both are summed over positions: b = sum_c (sum x)^2 / n_c - (sum x)^2 / n, w = sum_c (sum x^2 - (sum x)^2 / n_c).
    """
    there = samples > 0
    sums, squares, counts = sums[there], squares[there], samples[there].astype(np.float64)
    by_class = (np.square(sums) / counts[:, None, None]).sum(axis=(0, 2))
    total = np.square(sums.sum(axis=0)).sum(axis=1) / counts.sum()
    between, within = by_class - total, squares.sum(axis=0) - by_class
    return np.maximum(between, 0.0), np.maximum(within, 0.0)


def trace_ratio(between: FloatArray, within: FloatArray, count: int) -> tuple[BoolArray, float]:
    """Return the `count` channels with the largest J = sum b / sum w, and that J.

    Dinkelbach's iteration (Nie et al., AAAI 2008): take the channels with the largest b - lambda w, set lambda to their
    J, until the choice stays. It ends at the global optimum among the channels that are not dead (b = w = 0), which are
    taken last.
    """
    dead = (between <= 0) & (within <= 0)
    ratio = 0.0
    while True:
        gain = np.where(dead, -np.inf, between - ratio * within)
        best = np.zeros(len(between), dtype=bool)
        best[np.argsort(-gain, kind="stable")[:count]] = True
        reached = _ratio(between[best].sum(), within[best].sum())
        if reached <= ratio * (1 + 1e-12) or np.isinf(reached):
            return best, reached
        ratio = reached


def _ratio(between: float, within: float) -> float:
    if within > 0:
        return float(between / within)
    return float("inf") if between > 0 else 0.0


def utilities(between: FloatArray, within: FloatArray, tau: float) -> FloatArray:
    """Return u = max(0, b - tau * lambda * w), [channels], lambda being the trace ratio of the whole layer.

    Where no channel separates the classes at all, or every one does so perfectly, b counts alone.
    """
    _, ratio = trace_ratio(between, within, len(between))
    return between if np.isinf(ratio) else np.maximum(0.0, between - tau * ratio * within)


def value_curve(utility: FloatArray) -> FloatArray:
    """Return log(eps + share of the utility in the first d channels) for d = 0 .. channels, [channels + 1]."""
    total = utility.sum()
    share = np.cumsum(utility) / total if total > 0 else np.arange(1, len(utility) + 1) / len(utility)
    return np.log(EPSILON + np.concatenate([[0.0], share]))


def group_curve(layers: Sequence[Scatters], order: IntArray, tau: float) -> FloatArray:
    """Return what the first d channels of `order` are worth for d = 0 .. channels, [channels + 1].

    Every layer that makes the channels has a term of its own, and counts by how well it tells the classes apart: by
    the trace ratio of all its channels (at most `MOST_RATIO`, as one that does so perfectly has no finite one).
    """
    terms = [
        min(MOST_RATIO, trace_ratio(between, within, len(between))[1])
        * value_curve(utilities(between, within, tau)[order])
        for between, within in layers
    ]
    return np.asarray(np.sum(terms, axis=0))


def class_covariances(within: FloatArray, sums: FloatArray, samples: IntArray) -> Scatters:
    """Return the covariance of the class means, position by position, and that of all, each [channels, channels].

    Args:
        within: covariance within the classes, [channels, channels].
        sums: of the feature over the images of a class, [classes, channels, positions].
        samples: images of each class, [classes]; classes without images have no say.
    """
    there = samples > 0
    counts = samples[there].astype(np.float64)
    means = sums[there] / counts[:, None, None]
    shares = counts / counts.sum()
    apart = (means - np.tensordot(shares, means, 1)) * np.sqrt(shares)[:, None, None]
    by_position = apart.transpose(1, 0, 2).reshape(len(within), -1) / np.sqrt(apart.shape[2])
    by_class = apart.mean(axis=2).T
    return by_position @ by_position.T, within + by_class @ by_class.T


def joint_impact(group: ChannelGroup, statistics: Statistics, feature: str, tau: float) -> FloatArray | None:
    """Return what every channel adds to those that stay longer, [channels], or None where no layer was measured.

    That is u = max(0, b - tau * J_l * w) of its residual, when the channels that stay predict it by least squares, b
    between and w within the classes, J_l the trace ratio of the whole layer.
    """
    layers = []
    for member in group.members:
        layer = statistics.layers.get(member.axis.ref.name) if member.role == "produces" else None
        if layer is None:
            continue
        within, sums = _within(layer, feature), _positions(layer, FEATURES[feature][0])
        between, total = class_covariances(within, sums, statistics.samples)
        weight = tau * min(MOST_RATIO, _ratio(float(np.trace(between)), float(np.trace(within))))
        layers.append(residuals(total, member.positions, _utility(weight), between))
    return worth_by_channel(layers, group.size)


def _within(layer: LayerStatistics, feature: str) -> FloatArray:
    """Return the covariance of the channels within the classes."""
    return next(layer.values[name] for name in TOGETHER[feature] if name in layer.values)


def _utility(weight: float) -> Worth:
    return lambda variance, between: np.maximum(0.0, between - weight * np.maximum(0.0, variance - between))


def catro_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups: utilities relative to their mean, value curves for the greedy choice of widths, and a chooser.

    The scatters of a channel that several layers make are added up over these layers.

    Raises:
        InputError: fewer than two classes have images, so that nothing tells classes apart.
    """
    if not statistics.labelled or len(statistics.present) < 2:
        raise InputError(
            "Method catro needs images of two classes or more, in a folder for each class, or labels y in the .npz; "
            "without labels choose another method, such as reconstruction.",
            "no-labels",
        )
    sums, squares = FEATURES[options["feature"]]
    together = options["impact"] == "joint"
    layers = {
        name: scatter(_positions(layer, sums), layer.values[squares], statistics.samples)
        for name, layer in statistics.layers.items()
    }
    scatters, values, curves, unmeasured = {}, {}, {}, []
    for group in groups:
        found = _of_group(group, layers)
        if not found:
            unmeasured.append(group.name)
            found = [(np.ones(group.size), np.ones(group.size))]
        between, within = np.sum(found, axis=0)
        scatters[group.name] = between, within
        joint = joint_impact(group, statistics, options["feature"], options["tau"]) if together else None
        utility = utilities(between, within, options["tau"]) if joint is None else joint
        mean = utility.mean()
        values[group.name] = utility / mean if mean > 0 else np.ones(group.size)
        curves[group.name] = group_curve(found, np.argsort(-utility, kind="stable"), options["tau"])

    def choose(name: str, count: int) -> BoolArray:
        return frozen_array(trace_ratio(*scatters[name], count)[0])

    notes = (*class_notes(statistics), *_few(statistics), *unmeasured_note(unmeasured))
    return Scores(values, notes=notes, curves=curves, choose=None if together else choose)


def _few(statistics: Statistics) -> tuple[str, ...]:
    """Say where classes have too few images for the scatter within them."""
    few = int(np.count_nonzero(statistics.samples == 1))
    return (f"{few} class(es) have a single image, which says nothing of how a class varies.",) if few else ()


def _positions(layer: LayerStatistics, name: str) -> FloatArray:
    value = layer.values[name]
    return value if value.ndim == 3 else value[:, :, None]


def _of_group(group: ChannelGroup, layers: Mapping[str, Scatters]) -> list[Scatters]:
    """Return the scatters of a group's channels by layer that makes them."""
    return [
        (between[member.positions].sum(axis=1), within[member.positions].sum(axis=1))
        for member in group.members
        if member.role == "produces" and member.axis.ref.name in layers
        for between, within in [layers[member.axis.ref.name]]
    ]


register(
    Method(
        name="catro",
        summary="Channels that tell the classes apart, jointly in each layer; a greedy choice across layers by option.",
        formula="u = max(0, b - tau*J_l*w) of what is left of a channel when those that stay predict it;  single: "
        "J(S) = sum_S b / sum_S w;  F = sum_l J_l log(eps + sum_S u / sum u)",
        source="Hu et al. 2023, arXiv 2110.10921 (trace ratio: Nie et al. 2008; features and stage 2 our reading)",
        cost="one pass over the data; at most 32 numbers per image and channel leave the runtime; cubic in a layer's "
        "channels",
        needs=lambda options: frozenset(
            [*FEATURES[options["feature"]], *(TOGETHER[options["feature"]] if options["impact"] == "joint" else ())]
        ),
        score=catro_scores,
        options={
            "impact": Setting(
                "joint",
                "what a channel adds to those that stay, or what it is by itself",
                ("joint", "single"),
            ),
            "feature": Setting("map", "the map at sampled positions, or its spatial mean", ("map", "gap")),
            "widths": Setting(
                "loss",
                "by the reconstruction loss of the consumer layers, or by stage 2 of the paper",
                ("loss", "greedy"),
            ),
            "tau": Setting(0.0, "how much within-class scatter counts against a channel", low=0.0, high=1.0),
        },
        policy=lambda options: options["widths"],
    )
)
