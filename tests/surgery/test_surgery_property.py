"""Cut equals mask for randomly drawn graphs and random cuts: whatever rules meet, they agree on which channels go."""

from random import Random

import numpy as np
import onnx
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from nets import analysed
from random_nets import check_net, draw_net


@given(st.randoms(use_true_random=False))
@settings(max_examples=150, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_cut_equals_mask(rng: Random) -> None:
    model = draw_net(rng)
    note(onnx.printer.to_text(model))
    check_net(rng, model)


def test_nets_drawn_like_these_are_mostly_prunable() -> None:
    found: list[int] = []

    @given(st.randoms(use_true_random=False))
    @settings(max_examples=40, derandomize=True, deadline=None)
    def count(rng: Random) -> None:
        found.append(len(analysed(draw_net(rng)).prunable))

    count()
    assert float(np.mean(np.asarray(found) > 0)) > 0.8
