"""What a profile of a network is: timed once, kept, and close for networks that were not timed."""

import numpy as np
import pytest
from timed_machine import BLOCK, micros, parts

from onnxprune.latency.device import Device
from onnxprune.latency.model import fitted
from onnxprune.latency.profile import profile_here
from onnxprune.latency.table import table_of
from onnxprune.surgery.cut import cut


@pytest.mark.usefixtures("machine")
def test_the_table_predicts_networks_that_were_not_timed() -> None:
    model, analysis = parts()
    table = table_of(profile_here(model, analysis, Device()), analysis)
    assert table.block == BLOCK
    predicted = fitted(table, analysis.costs)
    rng = np.random.default_rng(0)
    for _ in range(10):
        kept = {group.name: int(rng.integers(max(1, group.size // 8), group.size + 1)) for group in analysis.prunable}
        masks = {group.name: np.arange(group.size) < kept[group.name] for group in analysis.prunable}
        proto = cut(analysis, masks).model
        assert 1000 * predicted(analysis.costs.widths_at(kept)) == pytest.approx(micros(proto), rel=0.12)


def test_what_was_timed_is_kept(machine: dict[str, float]) -> None:
    model, analysis = parts()
    first = profile_here(model, analysis, Device())
    calls = machine["calls"]
    assert profile_here(model, analysis, Device()) == first
    assert machine["calls"] == calls
    profile_here(model, analysis, Device(), anew=True)
    assert machine["calls"] == 2 * calls
