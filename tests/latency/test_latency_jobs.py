"""At which widths layers are timed."""

import pytest

from onnxprune.latency.jobs import timed_widths


@pytest.mark.parametrize("least", [1, 3, 7, 13])
@pytest.mark.parametrize("size", [2, 8, 16, 24, 40, 64, 100, 512])
def test_the_widths_that_are_timed_reach_from_the_least_to_the_whole(size: int, least: int) -> None:
    found = timed_widths(size, min(least, size))
    assert found[-1] == size
    assert found[0] <= max(least, 16)
    assert sorted(set(found)) == list(found)
    assert len(found) <= 8
