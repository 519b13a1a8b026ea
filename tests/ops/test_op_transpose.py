"""Transpose: channels go where their axis goes."""

from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


def test_channels_last_meet_a_matrix() -> None:
    model = net("""(float[n, 3, 5, 6] x) => (float[n, 5, 6, 4] y)
        <float[8, 3, 1, 1] w0, float[8, 7] w1, float[7] b1, float[7, 4] w2> {
            c = Conv(x, w0)
            t = Transpose<perm = [0, 2, 3, 1]>(c)
            m = MatMul(t, w1)
            a = Add(m, b1)
            r = Relu(a)
            y = MatMul(r, w2)
        }""")
    assert group_sizes(model) == [7, 8]
    assert_cut_equals_mask(model)


def test_channels_go_there_and_back() -> None:
    model = net("""(float[n, 3, 5, 6] x) => (float[n, 4, 5, 6] y)
        <float[8, 3, 1, 1] w0, float[8, 9] w1, float[4, 9, 1, 1] w2> {
            c = Conv(x, w0)
            t = Transpose<perm = [2, 1, 3, 0]>(c)
            u = Transpose<perm = [3, 0, 2, 1]>(t)
            m = MatMul(u, w1)
            back = Transpose<perm = [0, 3, 1, 2]>(m)
            y = Conv(back, w2)
        }""")
    assert group_sizes(model) == [8, 9]
    assert_cut_equals_mask(model)


def test_without_an_order_all_axes_are_reversed() -> None:
    model = net("""(float[2, 3] x) => (float[2, 4] y) <float[8, 3] w0, float[8, 4] w1> {
            t = Transpose(x)
            c = MatMul(w0, t)
            u = Transpose(c)
            y = MatMul(u, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_channels_moved_to_the_graph_output_are_frozen() -> None:
    model = net("""(float[n, 3, 5, 6] x) => (float[n, 5, 6, 8] y) <float[8, 3, 1, 1] w0> {
            c = Conv(x, w0)
            y = Transpose<perm = [0, 2, 3, 1]>(c)
        }""")
    assert frozen_reasons(model) == {"c": "y:3 is part of the graph output 'y'"}
