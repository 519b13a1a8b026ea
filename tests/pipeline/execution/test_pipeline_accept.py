"""What a result is refused for."""

import pytest
from refusals import refused

from onnxprune.pipeline.execution.accept import METADATA, refuse_growth
from onnxprune.values.outcome import Figures


@pytest.mark.parametrize("grown", [-1, 0, METADATA])
def test_a_file_may_grow_by_what_is_noted_in_it(grown: int) -> None:
    refuse_growth(Figures(10, 20.0, 30_000, 4), Figures(9, 18.0, 30_000 + grown, 3))


def test_a_larger_file_is_refused() -> None:
    with refused("over-budget", "34097 bytes instead of 30000", "--force"):
        refuse_growth(Figures(10, 20.0, 30_000, 4), Figures(9, 18.0, 30_001 + METADATA, 3))
