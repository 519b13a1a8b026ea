"""Local response normalisation looks at neighbouring channels, and at nothing else."""

from nets import analysed, assert_cut_equals_mask, group_sizes, net


def test_normalised_channels_are_frozen_as_approximate() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            d = LRN<size = 3>(c)
            y = Conv(d, w1)
        }""")
    group = analysed(model).by_name["c"]
    assert group.frozen == "c:1 meets LRN (node 1), which normalises over neighbouring channels"
    assert group.approximate
    assert group_sizes(model) == []


def test_other_axes_pass_through() -> None:
    model = net("""(float[n, 3, 5, 6] x) => (float[n, 3, 5, 4] y) <float[6, 8] w0, float[8, 4] w1> {
            c = MatMul(x, w0)
            d = LRN<size = 3, alpha = 0.5>(c)
            y = MatMul(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)
