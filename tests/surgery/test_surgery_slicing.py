"""Slicing in pieces gives what slicing at once does, whatever the shape and the alignment."""

import numpy as np
import pytest

from onnxprune.surgery import slicing
from onnxprune.surgery.slicing import kept_of


@pytest.mark.parametrize("piece", [1, 40, 100, 1 << 20])
@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 1), (1, 2), (2, 0, 1)])
def test_pieces_make_the_whole(piece: int, axes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "PIECE", piece)
    rng = np.random.default_rng(0)
    buffer = b"\0" + rng.standard_normal((7, 5, 3)).astype(np.float32).tobytes()
    value = np.frombuffer(buffer, np.float32, offset=1).reshape(7, 5, 3)
    assert not value.flags.aligned
    masks = {axis: rng.random(value.shape[axis]) < 0.6 for axis in axes}
    expected = value[np.ix_(*(np.flatnonzero(masks.get(axis, np.ones(size))) for axis, size in enumerate(value.shape)))]
    found = kept_of(value, masks)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_no_masks_is_the_value_itself() -> None:
    value = np.arange(6.0)
    assert kept_of(value, {}) is value


def test_a_transposed_view_and_an_empty_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "PIECE", 8)
    value = np.arange(12.0).reshape(3, 4).T
    np.testing.assert_array_equal(kept_of(value, {0: np.array([True, False, True, False])}), [[0, 4, 8], [2, 6, 10]])
    assert kept_of(value, {0: np.zeros(4, dtype=bool)}).shape == (0, 3)
