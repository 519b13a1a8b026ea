import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.selection.measured import MOST, measured_counts, measured_curve


@given(size=st.integers(2, 2000))
def test_some_widths_below_its_own_are_measured(size: int) -> None:
    counts = measured_counts(size)
    assert 1 <= len(counts) <= 5
    assert all(1 <= count < size for count in counts)
    assert list(counts) == sorted(set(counts), reverse=True)


@given(
    size=st.integers(2, 300),
    drawn=st.lists(st.one_of(st.floats(0, 10), st.sampled_from([float("inf"), float("nan")])), min_size=5, max_size=5),
)
def test_a_curve_rises_with_the_width_and_is_nothing_at_the_whole(size: int, drawn: list[float]) -> None:
    curve = measured_curve(size, dict(zip(measured_counts(size), drawn, strict=False)))
    assert curve.shape == (size + 1,)
    assert np.isfinite(curve).all()
    assert curve[size] == 0
    assert (np.diff(curve) >= 0).all()


def test_changes_are_squared_and_interpolated_in_between() -> None:
    curve = measured_curve(10, {5: 0.4, 2: 1.0})
    assert curve[[10, 5, 2]] == pytest.approx([0, -0.16, -1])
    assert curve[7] == pytest.approx(-((0.4 * 3 / 5) ** 2))
    assert curve[0] == curve[1] == pytest.approx(-4)


def test_what_is_worse_at_a_wider_width_is_as_bad_below() -> None:
    curve = measured_curve(4, {3: 0.9, 1: 0.5})
    assert curve[1] == pytest.approx(-0.81)
    assert measured_curve(4, {3: float("nan")})[3] == -(MOST**2)
