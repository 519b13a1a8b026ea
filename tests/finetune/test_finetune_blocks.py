"""Channels of a pruned network found among those of the network that it was pruned from."""

import numpy as np
import pytest

from onnxprune.finetune.blocks import kept_channels

RNG = np.random.default_rng(0)
TEACHER = RNG.normal(size=(16, 6, 4, 4))


def noisy(values: np.ndarray) -> np.ndarray:
    return 1.3 * values + 0.3 * RNG.normal(size=values.shape) + 2.0


def test_channels_are_those_that_say_the_same() -> None:
    found = kept_channels(noisy(TEACHER[:, [0, 2, 5]]), TEACHER)
    assert found is not None
    assert (found[0], found[1].tolist()) == (1, [0, 2, 5])


def test_the_last_axis_may_hold_the_channels() -> None:
    teacher = np.moveaxis(TEACHER, 1, -1)
    found = kept_channels(noisy(teacher[..., [1, 4]]), teacher)
    assert found is not None
    assert (found[0], found[1].tolist()) == (3, [1, 4])


def test_as_many_channels_are_the_same_ones() -> None:
    found = kept_channels(noisy(TEACHER), TEACHER)
    assert found is not None
    assert (found[0], found[1].tolist()) == (1, [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    "student",
    [
        TEACHER[:, [5, 0]],  # in another order
        TEACHER[:, [2, 2]],  # one twice
        TEACHER[:8, [0, 2]],  # other samples
        TEACHER[:, [0, 2], :2],  # another size as well
        np.concatenate([TEACHER, TEACHER], axis=1),  # more channels
        TEACHER[:, :2].reshape(16, -1),
    ],
)
def test_what_is_no_choice_of_channels_is_none(student: np.ndarray) -> None:
    assert kept_channels(student, TEACHER) is None
