"""Concat: each part keeps its own channels, wherever they land."""

from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


def test_two_producers_into_an_ungrouped_layer_stay_apart() -> None:
    model = net(
        """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[5, 3, 1, 1] w0, float[7, 3, 1, 1] w1, float[12] s, float[4, 12, 1, 1] w2> {
            a = Conv(x, w0)
            b = Conv(x, w1)
            c = Concat<axis = 1>(a, b)
            d = BatchNormalization(c, s, s, s, v)
            y = Conv(d, w2)
        }""".replace("float[12] s,", "float[12] s, float[12] v,")
    )
    assert group_sizes(model) == [5, 7]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w2") == (4, int(checked.keep["a"].sum() + checked.keep["b"].sum()), 1, 1)


def test_a_tensor_beside_itself_has_each_channel_twice() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y) <float[6, 3, 1, 1] w0, float[4, 12, 1, 1] w1> {
            a = Conv(x, w0)
            c = Concat<axis = -3>(a, a)
            r = Sigmoid(c)
            y = Conv(r, w1)
        }""")
    assert group_sizes(model) == [6]
    assert assert_cut_equals_mask(model).shape("w1") == (4, 6, 1, 1)


def test_a_depthwise_layer_on_joined_channels_keeps_them_apart() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 3, 3] y)
        <float[5, 3, 1, 1] w0, float[7, 3, 1, 1] w1, float[12, 1, 3, 3] w2, float[4, 12, 1, 1] w3> {
            a = Conv(x, w0)
            b = Conv(x, w1)
            c = Concat<axis = 1>(a, b)
            d = Conv<group = 12>(c, w2)
            y = Conv(d, w3)
        }""")
    assert group_sizes(model) == [5, 7]
    checked = assert_cut_equals_mask(model)
    assert checked.attribute("d", "group") == checked.shape("w2")[0]


def test_a_grouped_layer_on_joined_channels_ties_columns_across_the_parts() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[6, 3, 1, 1] w0, float[6, 3, 1, 1] w1, float[4, 6, 1, 1] w2, float[4, 4, 1, 1] w3> {
            a = Conv(x, w0)
            b = Conv(x, w1)
            c = Concat<axis = 1>(a, b)
            d = Conv<group = 2>(c, w2)
            y = Conv(d, w3)
        }""")
    assert group_sizes(model) == [2, 6]
    assert_cut_equals_mask(model)


def test_joined_tensors_may_be_joined_again_and_each_be_read_alone() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[3, 3, 1, 1] w0, float[4, 6, 1, 1] w1, float[5, 10, 1, 1] w2, float[4, 15, 1, 1] w3> {
            a = Conv(x, w0)
            c = Concat<axis = 1>(x, a)
            b = Conv(c, w1)
            d = Concat<axis = 1>(c, b)
            r = Relu(d)
            e = Conv(r, w2)
            f = Concat<axis = 1>(d, e)
            y = Conv(f, w3)
        }""")
    assert group_sizes(model) == [3, 4, 5]
    assert_cut_equals_mask(model)


def test_a_sum_of_two_joins_ties_what_lies_opposite() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[2, 3, 1, 1] w0, float[6, 3, 1, 1] w1, float[5, 3, 1, 1] w2, float[3, 3, 1, 1] w3, float[4, 8, 1, 1] w4> {
            a = Conv(x, w0)
            b = Conv(x, w1)
            c = Conv(x, w2)
            d = Conv(x, w3)
            p = Concat<axis = 1>(a, b)
            q = Concat<axis = 1>(c, d)
            s = Add(p, q)
            y = Conv(s, w4)
        }""")
    assert group_sizes(model) == [2, 3, 3]
    assert_cut_equals_mask(model)


def test_other_axes_pass_through_and_tie_the_parts() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 10, 5] y)
        <float[8, 3, 1, 1] w0, float[8, 3, 1, 1] w1, float[4, 8, 1, 1] w2> {
            a = Conv(x, w0)
            b = Conv(x, w1)
            c = Concat<axis = 2>(a, b)
            y = Conv(c, w2)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_a_constant_part_keeps_its_channels() -> None:
    model = net("""(float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[2, 2, 5, 5] k, float[4, 10, 1, 1] w1> {
            a = Conv(x, w0)
            c = Concat<axis = 1>(k, a)
            y = Conv(c, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w1") == (4, 6, 1, 1)
    assert checked.shape("k") == (2, 2, 5, 5)


def test_a_class_token_is_cut_with_the_tokens_it_is_joined_to() -> None:
    model = net("""(float[1, 6, 5] x) => (float[1, 7, 4] y) <float[5, 8] w0, float[1, 1, 8] token, float[8, 4] w1> {
            a = MatMul(x, w0)
            c = Concat<axis = 1>(token, a)
            y = MatMul(c, w1)
        }""")
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("token") == (1, 1, 4)


def test_a_joined_graph_output_freezes_all_parts() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 8, 5, 5] y) <float[5, 3, 1, 1] w0> {
            a = Conv(x, w0)
            y = Concat<axis = 1>(a, x)
        }""")
    assert frozen_reasons(model) == {"a": "y:1 is part of the graph output 'y'"}
