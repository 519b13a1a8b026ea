"""Fisher: what moves the class probabilities counts, and nothing else does."""

from dataclasses import replace

import numpy as np
import pytest
from least_squares import lost_without, moments_of

from onnxprune.importance.fisher import fisher_scores, half_weighed, weighed
from onnxprune.importance.reconstruction import reconstruction_scores
from onnxprune.selection.loss import tail_losses
from onnxprune.values.axes import Axis, FloatArray, Ref
from onnxprune.values.groups import ChannelGroup, Member
from onnxprune.values.statistics import Consumer, Statistics

AXIS = Axis(Ref("w", 1, 1), 1)


def consumer(x: FloatArray, w: FloatArray, fisher: FloatArray, channels: int | None = None) -> Consumer:
    return Consumer("y", AXIS, w[None], moments_of(x)[None], channels or len(w), 1.0, fisher=fisher[None])


def values(x: FloatArray, w: FloatArray, fisher: FloatArray, *, blind: bool = False) -> FloatArray:
    positions = np.arange(len(w))[:, None]
    members = (Member(Axis(Ref("a"), 1), positions, "produces"), Member(AXIS, positions, "weight"))
    statistics = Statistics({}, np.array([1]), consumers=(consumer(x, w, fisher),))
    score = reconstruction_scores if blind else fisher_scores
    found = score([ChannelGroup("a", len(w), members, ("a",))], statistics, {}, np.random.default_rng(0))
    return found.values["a"]


@pytest.fixture
def example() -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(400, 4)), rng.normal(size=(4, 3))


def test_what_only_a_free_output_reads_costs_nothing(example: tuple[FloatArray, FloatArray]) -> None:
    x, _ = example
    w = np.array([[9.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    free = np.diag([0.0, 1.0])
    assert np.argsort(values(x, w, free)).tolist() == [0, 1, 2, 3]
    assert values(x, w, free)[0] == pytest.approx(0.0, abs=1e-12)
    assert np.argsort(values(x, w, free, blind=True)).tolist() == [1, 2, 3, 0]


def test_outputs_that_move_the_probabilities_together_are_free_together() -> None:
    """A softmax does not change where all scores rise alike: F = diag(p) - p p' at p = (1/2, 1/2)."""
    x = np.random.default_rng(1).normal(size=(400, 2))
    w = np.array([[5.0, 5.0], [1.0, -1.0]])
    fisher = np.array([[0.25, -0.25], [-0.25, 0.25]])
    assert np.argsort(values(x, w, fisher)).tolist() == [0, 1]
    assert np.argsort(values(x, w, fisher, blind=True)).tolist() == [1, 0]


def test_the_first_loss_is_that_of_the_best_fit_by_the_form_of_fisher(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    root = np.random.default_rng(3).normal(size=(3, 3))
    expected = min(lost_without(x, w @ root, [k for k in range(4) if k != c]) for c in range(4))
    assert values(x, w, root @ root.T).min() == pytest.approx(expected, rel=2e-2)  # the ridge of a thousandth


def test_scores_follow_permutations_of_channels_and_of_outputs(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    root = np.random.default_rng(3).normal(size=(3, 3))
    fisher, mixed, outputs = root @ root.T, np.array([2, 0, 3, 1]), np.array([1, 2, 0])
    found = values(x, w, fisher)
    assert values(x[:, mixed], w[mixed], fisher) == pytest.approx(found[mixed], rel=1e-6)
    assert values(x, w[:, outputs], fisher[np.ix_(outputs, outputs)]) == pytest.approx(found, rel=1e-6)


def test_an_output_that_counts_fully_leaves_the_order_of_reconstruction(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    same, blind = values(x, w, 4.0 * np.eye(3)), values(x, w, np.eye(3), blind=True)
    assert same == pytest.approx(4.0 * blind, rel=1e-6)


def test_taps_among_the_outputs_have_the_same_information(example: tuple[FloatArray, FloatArray]) -> None:
    x, _ = example
    w, fisher = np.random.default_rng(4).normal(size=(4, 6)), np.array([[2.0, 1.0], [1.0, 3.0]])
    found = weighed(consumer(x, w, fisher))[0]
    whole = np.kron(np.eye(3), fisher)
    np.testing.assert_allclose(found @ found.T, w @ whole @ w.T, rtol=1e-9)


def test_widths_go_half_by_fisher_and_all_layers_lose_as_much_in_all(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    root = np.random.default_rng(3).normal(size=(3, 3))
    mine = replace(consumer(x, w, root @ root.T), scale=4.0)

    def lost(weights: FloatArray, gone: list[int]) -> float:
        order = [k for k in range(4) if k not in gone] + gone
        return float(tail_losses(mine.damped[0], weights[0], [np.array(order)[:, None]])[0][4 - len(gone)])

    whole = [0, 1, 2, 3]
    assert lost(half_weighed(mine), whole) == pytest.approx(lost(mine.relative, whole))
    scale = lost(mine.relative, whole) / lost(weighed(mine), whole)
    for gone in ([0], [1, 3]):
        expected = 0.5 * lost(mine.relative, gone) + 0.5 * scale * lost(weighed(mine), gone)
        assert lost(half_weighed(mine), gone) == pytest.approx(expected)


def test_where_nothing_moves_the_probabilities_widths_go_by_the_plain_loss(
    example: tuple[FloatArray, FloatArray],
) -> None:
    mine = consumer(*example, np.zeros((3, 3)))
    assert half_weighed(mine).tolist() == mine.relative.tolist()
