"""The seeded, stratified hold-out and the even choice of samples."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from onnxprune.data import Dataset, fit_and_judge, open_data, split, take
from onnxprune.data.split import choose
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import Preprocess

SPEC = (TensorSpec("x", (None, 1), "float32"),)


def dataset(folder: Path, labels: list[int] | None, count: int = 0) -> Dataset:
    x = np.arange(len(labels or range(count)), dtype=np.float32)[:, None]
    path = folder / "d.npz"
    if labels is None:
        np.savez(path, x=x)
    else:
        np.savez(path, x=x, y=np.array(labels))
    return open_data(path, SPEC, Preprocess())


def counts(part: Dataset) -> list[int]:
    assert part.labels is not None
    return [int(count) for count in np.bincount(part.labels, minlength=4)]


def test_every_class_gives_its_share_and_the_parts_are_disjoint(tmp_path: Path) -> None:
    data = dataset(tmp_path, [0] * 20 + [1] * 10 + [2] * 2 + [3])
    kept, held = split(data, 0.2, seed=0)
    assert counts(held) == [4, 2, 1, 0]
    assert counts(kept) == [16, 8, 1, 1]
    assert sorted([*kept.rows, *held.rows]) == list(range(33))


def test_large_share_leaves_one_of_each_class(tmp_path: Path) -> None:
    kept, _ = split(dataset(tmp_path, [0, 0, 1, 1, 1]), 0.99, seed=0)
    assert counts(kept)[:2] == [1, 1]


def test_seed_decides_and_repeats(tmp_path: Path) -> None:
    data = dataset(tmp_path, [0, 1] * 50)
    parts = [split(data, 0.3, seed)[1].rows.tolist() for seed in (1, 1, 2)]
    assert parts[0] == parts[1] != parts[2]


def test_unlabelled_data_are_split_at_random(tmp_path: Path) -> None:
    kept, held = split(dataset(tmp_path, None, count=10), 0.25, seed=0)
    assert (len(kept), len(held)) == (8, 2)
    assert held.labels is None


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 20.0])
def test_share_out_of_range_is_refused(tmp_path: Path, share: float) -> None:
    with refused("bad-value", "--holdout"):
        split(dataset(tmp_path, [0, 0]), share, seed=0)


def test_nothing_to_hold_out_is_refused(tmp_path: Path) -> None:
    with refused("too-few-samples", "d.npz"):
        split(dataset(tmp_path, [0]), 0.5, seed=0)


def test_classes_with_one_sample_give_their_share_together(tmp_path: Path) -> None:
    kept, held = split(dataset(tmp_path, list(range(10))), 0.3, seed=0)
    assert (len(kept), len(held)) == (7, 3)
    kept, held = split(dataset(tmp_path, [*[0] * 10, 1, 2, 3, 4]), 0.5, seed=0)
    assert (counts(held)[0], len(held)) == (5, 7)


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=40), count=st.integers(1, 50), seed=st.integers(0, 9))
def test_choice_is_sorted_unique_and_even(labels: list[int], count: int, seed: int) -> None:
    array = np.array(labels)
    chosen = choose(array, len(labels), count, seed)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(labels))
    assert (np.diff(chosen) > 0).all()
    taken, there = (np.bincount(part, minlength=4) for part in (array[chosen], array))
    # A class has fewer than another, by more than one, only where it has no more to give.
    for label in range(4):
        assert taken[label] == there[label] or taken[label] >= taken.max() - 1


def test_take_keeps_order_and_refuses_zero(tmp_path: Path) -> None:
    data = dataset(tmp_path, [0, 1] * 5)
    some = take(data, 4, seed=0)
    assert counts(some)[:2] == [2, 2]
    assert (np.diff(some.rows) > 0).all()
    with refused("bad-value", "limit of samples", "0"):
        take(data, 0, seed=0)


@pytest.mark.parametrize("labels", [[0] * 20 + [1] * 10 + [2, 3], list(range(10)), [0], [0, 1], None])
def test_samples_fit_or_judge_and_classes_of_one_count_together(tmp_path: Path, labels: list[int] | None) -> None:
    data = dataset(tmp_path, labels, 7)
    fit, judge = fit_and_judge(data, 3)
    assert sorted([*fit.rows, *judge.rows]) == list(range(len(data)))
    assert len(fit) >= 1
    assert len(judge) >= 1 or len(data) == 1
    assert len(judge) <= max(1, round(0.2 * len(data)) + 1)
    assert fit_and_judge(data, 3)[1].rows.tolist() == judge.rows.tolist()
