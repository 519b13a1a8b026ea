"""BatchNormalization kept as a node."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize("space", ["", ", 7", ", 5, 4", ", 3, 2, 4"])
def test_the_four_vectors_follow_the_channels(space: str) -> None:
    layer, one = ("MatMul", "") if not space else ("Conv", ", 1" * space.count(","))
    first, second = ("3, 8", "8, 4") if not space else ("8, 3", "4, 8")
    model = net(f"""(float[n, 3{space}] x) => (float[n, 4{space}] y)
        <float[{first}{one}] w0, float[8] s, float[8] b, float[8] m, float[8] v, float[{second}{one}] w1> {{
            c = {layer}(x, w0)
            d = BatchNormalization<epsilon = 0.01>(c, s, b, m, v)
            r = Relu(d)
            y = {layer}(r, w1)
        }}""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert [checked.shape(name) for name in "sbmv"] == [(4,)] * 4


def test_two_layers_that_share_their_vectors_stay_apart() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8] s, float[8] b, float[8] m, float[8] v, float[8, 8, 1, 1] w1,
         float[4, 8, 1, 1] w2> {
            c = Conv(x, w0)
            d = BatchNormalization(c, s, b, m, v)
            e = Conv(d, w1)
            f = BatchNormalization(e, s, b, m, v)
            y = Conv(f, w2)
        }""")
    assert group_sizes(model) == [8, 8]
    checked = assert_cut_equals_mask(model)
    assert sorted(checked.result.edits.copies.values()) == ["b", "m", "s", "v"]


def test_training_mode_freezes() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8] s, float[8] b, float[8] m, float[8] v, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            d, rm, rv = BatchNormalization<training_mode = 1>(c, s, b, m, v)
            y = Conv(d, w1)
        }""")
    reasons = frozen_reasons(model)
    assert "it runs in training mode; export the model for inference" in reasons["c"]
