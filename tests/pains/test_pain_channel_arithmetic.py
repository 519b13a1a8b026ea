"""Channels that are concatenated, split, sliced, chunked and reshaped on their way."""

import numpy as np
import pytest
from nets import analysed, assert_cut_equals_mask, group_sizes, net

HALVES = {
    "Split": "l, r = Split<axis = 1, num_outputs = 2>(d)",
    "sized Split": "l, r = Split<axis = 1>(d, sizes)",
    "Slice": "l = Slice(d, zero, eight, one) r = Slice(d, eight, far, one)",
}


@pytest.mark.parametrize("how", HALVES)
def test_torch_pruning_203_the_halves_of_a_channel_split_gate_go_in_pairs(how: str) -> None:
    """NAFNet's gate halves the channels and multiplies the halves: channel i and channel i + half are one."""
    model = net(
        f"""(float[n, 3, 6, 6] x) => (float[n, 3, 6, 6] y)
        <float[16, 3, 1, 1] w0, float[16, 1, 3, 3] w1, float[16] b1, float[3, 8, 1, 1] w2, int64[2] sizes = {{8, 8}},
         int64[1] zero = {{0}}, int64[1] eight = {{8}}, int64[1] far = {{9223372036854775807}}, int64[1] one = {{1}}> {{
            c = Conv(x, w0)
            d = Conv<group = 16, pads = [1, 1, 1, 1]>(c, w1, b1)
            {HALVES[how]}
            g = Mul(l, r)
            z = Conv(g, w2)
            y = Add(x, z)
        }}""",
        opset=18,
    )
    assert group_sizes(model) == [8]
    (group,) = analysed(model).prunable
    produced = group.members[0].positions
    np.testing.assert_array_equal(np.sort(produced, axis=1), np.stack([np.arange(8), np.arange(8) + 8], axis=1))
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0")[0] == 8
    assert checked.attribute("d", "group") == 8
    assert checked.shape("w2") == (3, 4, 1, 1)


def test_torch_pruning_203_a_whole_nafnet_block_is_cut() -> None:
    """Gate, channel attention by mean and 1x1 conv, projection back on the residual stream with a learned scale."""
    model = net("""(float[n, 3, 6, 6] x) => (float[n, 3, 6, 6] y)
        <float[4, 3, 1, 1] wi, float[16, 4, 1, 1] w0, float[16, 1, 3, 3] w1, int64[2] sizes = {8, 8},
         float[8, 8, 1, 1] wa, float[4, 8, 1, 1] w2, float[1, 4, 1, 1] beta, float[3, 4, 1, 1] wo> {
            i = Conv(x, wi)
            c = Conv(i, w0)
            d = Conv<group = 16, pads = [1, 1, 1, 1]>(c, w1)
            l, r = Split<axis = 1>(d, sizes)
            g = Mul(l, r)
            p = GlobalAveragePool(g)
            a = Conv(p, wa)
            h = Mul(g, a)
            e = Conv(h, w2)
            s = Mul(e, beta)
            t = Add(i, s)
            y = Conv(t, wo)
        }""")
    assert group_sizes(model) == [4, 8]
    assert assert_cut_equals_mask(model).shape("beta") == (1, 2, 1, 1)


def test_oto_39_a_slice_of_a_concat_finds_its_way_back_to_both_branches() -> None:
    """A slice across the seam of a concat was refused; it is position arithmetic."""
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[6, 3, 1, 1] w0, float[8, 3, 1, 1] w1, int64[1] from = {4}, int64[1] to = {12}, int64[1] axis = {1},
         float[4, 8, 1, 1] w2, float[4, 14, 1, 1] w3> {
            a = Conv(x, w0)
            b = Conv(x, w1)
            c = Concat<axis = 1>(a, b)
            s = Slice(c, from, to, axis)
            d = Conv(s, w2)
            e = Conv(c, w3)
            y = Add(d, e)
        }""")
    # Channels inside and outside of the slice are different kinds of channels of each branch.
    assert group_sizes(model) == [2, 2, 4, 6]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0")[0] + checked.shape("w1")[0] == checked.shape("w3")[1] == 7
    assert checked.shape("w2") == (4, 4, 1, 1)


def test_aimet_732_branches_concatenated_before_batchnorm_and_conv_are_pruned() -> None:
    """DenseNet and Inception: what follows a concat was skipped, or cut at the wrong offset."""
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[6, 3, 1, 1] w0, float[8, 3, 3, 3] w1, float[17] s, float[17] b, float[17] m, float[17] v,
         float[4, 17, 1, 1] w2> {
            p = Conv(x, w0)
            q = Conv<pads = [1, 1, 1, 1]>(x, w1)
            c = Concat<axis = 1>(p, x, q)
            n1 = BatchNormalization(c, s, b, m, v)
            r = Relu(n1)
            y = Conv(r, w2)
        }""")
    assert group_sizes(model) == [6, 8]
    keep = {"p": np.arange(6) < 2, "q": np.arange(8) >= 3}
    checked = assert_cut_equals_mask(model, keep)
    whole = np.frombuffer(next(t for t in model.graph.initializer if t.name == "s").raw_data, np.float32)
    # The image's three channels in the middle stay, at their new place.
    np.testing.assert_array_equal(checked.value("s"), whole[[0, 1, 6, 7, 8, 12, 13, 14, 15, 16]])
    assert checked.shape("w2") == (4, 10, 1, 1)


def test_nni_5449_reshape_chunk_split_chains_are_followed() -> None:
    """A chunk of a reshaped tensor (the q, k, v of attention) stopped the tracing."""
    model = net("""(float[n, 3, 4, 4] x) => (float[n, 4, 4, 4] y)
        <float[24, 3, 1, 1] w0, int64[4] split = {0, 3, 8, 16}, int64[3] ones = {1, 1, 1}, int64[1] axis = {1},
         int64[4] back = {0, 8, 4, 4}, float[4, 8, 1, 1] wq, float[4, 8, 1, 1] wk, float[4, 8, 1, 1] wv> {
            c = Conv(x, w0)
            h = Reshape(c, split)
            q, k, v = Split<axis = 1>(h, ones)
            q4 = Reshape(q, back)
            k4 = Reshape(k, back)
            v4 = Reshape(v, back)
            a = Conv(q4, wq)
            b = Conv(k4, wk)
            d = Conv(v4, wv)
            e = Mul(a, b)
            y = Add(e, d)
        }""")
    # The reshape has to stay rectangular: a channel goes from q, k and v alike.
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0")[0] == 12
    assert checked.shape("wq") == checked.shape("wk") == checked.shape("wv") == (4, 4, 1, 1)


def test_nni_5449_chunks_that_go_different_ways_are_cut_apart() -> None:
    """Chunk, then chunk again, then a shuffle: only what really meets is coupled."""
    model = net(
        """(float[n, 3, 4, 4] x) => (float[n, 4, 4, 4] y)
        <float[16, 3, 1, 1] w0, int64[5] there = {0, 2, 4, 4, 4}, int64[4] back = {0, 8, 4, 4},
         int64[2] uneven = {3, 5}, float[4, 8, 1, 1] w1, float[4, 3, 1, 1] w2, float[4, 5, 1, 1] w3> {
            c = Conv(x, w0)
            a, b = Split<axis = 1, num_outputs = 2>(c)
            h = Reshape(a, there)
            t = Transpose<perm = [0, 2, 1, 3, 4]>(h)
            s = Reshape(t, back)
            d = Conv(s, w1)
            e, f = Split<axis = 1>(b, uneven)
            g = Conv(e, w2)
            i = Conv(f, w3)
            y = Sum(d, g, i)
        }""",
        opset=18,
    )
    assert group_sizes(model) == [2, 3, 4, 5]
    checked = assert_cut_equals_mask(model, ratio=0.34)
    assert checked.shape("w2") == (4, 2, 1, 1)
    assert checked.shape("w3") == (4, 3, 1, 1)
