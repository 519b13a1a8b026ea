"""ScatterND by indices that are put together while the model runs: assigned slices, and unpooling."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net

ASSIGNED = """(float[N, 3, 5] x) => (float[N, 4, 5] y)
    <float[8, 3, 1] w0, float[8, 3, 1] v0, float[4, 8, 1] w1, int64 zero = {0}, int64 one = {1}, int64 two = {2},
     int64 five = {5}, int64[3] first = {-1, 1, 1}, int64[2] second = {-1, 1}, int64[1] last = {-1},
     int64[2] part = {1, 3}, int64[1] axis = {2}, int64[1] start = {1}, int64[1] end = {4}> {
        c = Conv(x, w0)
        sizes = Shape(c)
        batch = Gather<axis = 0>(sizes, zero)
        wide = Gather<axis = 0>(sizes, one)
        batches = Range(zero, batch, one)
        channels = Range(zero, wide, one)
        every = Range(zero, five, one)
        places = Slice(every, start, end)
        b = Reshape(batches, first)
        k = Reshape(channels, second)
        bk = Add(b, k)
        shape_of = Add(bk, places)
        target = Shape(shape_of)
        b_whole = Expand(b, target)
        k_whole = Expand(k, target)
        p_whole = Expand(places, target)
        b_last = Unsqueeze(b_whole, last)
        k_last = Unsqueeze(k_whole, last)
        p_last = Unsqueeze(p_whole, last)
        i = Concat<axis = -1>(b_last, k_last, p_last)
        e = Conv(x, v0)
        d = Slice(e, start, end, axis)
        s = ScatterND(c, i, d)
        y = Conv(s, w1)
    }"""


def test_a_slice_that_is_assigned_to_keeps_its_channels() -> None:
    """So `x[:, :, 1:4] = z` comes out of exporters: a range for every axis, widened to the shape of all."""
    model = net(ASSIGNED)
    assert group_sizes(model) == [8]
    for ratio in (0.3, 0.6):
        assert_cut_equals_mask(model, ratio=ratio)


def test_a_range_that_is_also_counted_with_stays() -> None:
    text = ASSIGNED.replace(
        "y = Conv(s, w1)", "f = Cast<to = 1>(bk)\n m = ReduceMax(f)\n n = Add(s, m)\n y = Conv(n, w1)"
    )
    assert group_sizes(net(text)) == []


def test_places_in_stored_vectors_are_renumbered() -> None:
    model = net("""(float[2, 3, 5] x, float[2, 3, 5] z) => (float[2, 4, 5] y)
        <float[8, 3, 1] w0, float[3, 3, 1] v0, int64[2, 1, 1] b = {0, 1}, int64[3, 1] k = {6, -7, 2},
         int64[3] target = {2, 3, 1}, float[4, 8, 1] w1> {
            c = Conv(x, w0)
            d = Conv(z, v0)
            bb = Expand(b, target)
            kk = Expand(k, target)
            i = Concat<axis = -1>(bb, kk)
            s = ScatterND(c, i, d)
            y = Conv(s, w1)
        }""")
    # constants alone: a grid that is known as a whole
    assert group_sizes(model) == [3, 5]
    assert_cut_equals_mask(model)


UNPOOLED = """(float[1, 3, 6, 4] x) => (float[1, 4, 6, 4] y)
    <float[8, 3, 1, 1] w0, float[8, 8, 1, 1] v0, float[4, 8, 1, 1] w1, int64[2] starts = {0, 0}, int64[2] ends = {1, 1},
     int64[2] axes = {2, 3}, int64[1, 8, 1, 1] base = {0, 24, 48, 72, 96, 120, 144, 168}, int64[1] flat = {-1},
     int64[4] whole = {1, 8, 6, 4}> {
        c = Conv(x, w0)
        d, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)
        same, j = MaxPool<kernel_shape = [1, 1], strides = [1, 1]>(c)
        corner = Slice(j, starts, ends, axes)
        within = Sub(i, corner)
        e = Conv(d, v0)
        f = Sigmoid(e)
        places = Add(within, base)
        listed = Reshape(places, flat)
        zeros = ConstantOfShape(whole)
        room = Reshape(zeros, flat)
        values = Reshape(f, flat)
        indices = Unsqueeze(listed, flat)
        s = ScatterND(room, indices, values)
        t = Reshape(s, whole)
        y = Conv(t, w1)
    }"""


@pytest.mark.parametrize("batch", [1, 2])
def test_unpooling_as_a_scatter_into_a_flat_tensor(batch: int) -> None:
    """So torch.onnx.export writes MaxUnpool: the place within a channel, and where the channel begins."""
    first = ", ".join(str(24 * channel) for channel in range(8 * batch))
    text = UNPOOLED.replace("float[1,", f"float[{batch},").replace("{1, 8, 6, 4}", f"{{{batch}, 8, 6, 4}}")
    text = text.replace(
        "[1, 8, 1, 1] base = {0, 24, 48, 72, 96, 120, 144, 168}", f"[{batch}, 8, 1, 1] base = {{{first}}}"
    )
    model = net(text)
    assert group_sizes(model) == [8]
    for ratio in (0.3, 0.6):
        checked = assert_cut_equals_mask(model, ratio=ratio)
        left = checked.shape("w0")[0]
        assert checked.value("base").ravel().tolist() == [24 * channel for channel in range(batch * left)]
        assert checked.value("whole").tolist() == [batch, left, 6, 4], "no zeros are written down"


FREE_BATCH = UNPOOLED.replace("float[1,", "float[n,").replace(
    ", int64[1, 8, 1, 1] base = {0, 24, 48, 72, 96, 120, 144, 168}",
    ", int64 zero = {0}, int64 one = {1}, int64 width = {8}, int64[4] column = {-1, 8, 1, 1}, int64 plane = {24}, "
    "int64[1] planes = {8}, int64[2] sides = {6, 4}, int64[4] back = {-1, 8, 6, 4}",
)
for _old, _new in (
    (
        "places = Add(within, base)",
        """n = Shape<start = 0, end = 1>(x)
        images = Squeeze(n)
        limit = Mul(images, width)
        numbers = Range(zero, limit, one)
        listing = Reshape(numbers, column)
        base = Mul(listing, plane)
        places = Add(within, base)""",
    ),
    ("ConstantOfShape(whole)", "ConstantOfShape(sizes)"),
    ("zeros = ", "sizes = Concat<axis = 0>(n, planes, sides)\n        zeros = "),
    ("Reshape(s, whole)", "Reshape(s, back)"),
    (",\n     int64[4] whole = {1, 8, 6, 4}", ""),
):
    assert _old in FREE_BATCH, _old
    FREE_BATCH = FREE_BATCH.replace(_old, _new)


def test_unpooling_of_a_free_batch() -> None:
    """The first places of the channels are computed then: channels are numbered through all images."""
    model = net(FREE_BATCH)
    assert group_sizes(model) == [8]
    for images in (1, 3):
        checked = assert_cut_equals_mask(model, ratio=0.6, free={"n": images})
        left = checked.shape("w0")[0]
        assert int(checked.value(checked.node("limit").input[1])) == left
        assert checked.value(checked.node("sizes").input[1]).tolist() == [left]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int64 zero = {0}", "int64 zero = {1}"),
        ("int64 one = {1}", "int64 one = {2}"),
        ("plane = {24}", "plane = {48}"),
        ("base = Mul(listing, plane)", "base = Mul(listing, plane)\n z = Identity(listing)"),
        ("limit = Mul(images, width)", "limit = Mul(images, width)\n z = Identity(limit)"),
        ("base = Mul(listing, plane)", "doubled = Add(listing, listing)\n base = Mul(doubled, plane)"),
    ],
)
def test_channels_that_are_numbered_otherwise_stay(old: str, new: str) -> None:
    """They begin elsewhere, go by twos or by other planes, or are read by others too."""
    assert old in FREE_BATCH
    text = FREE_BATCH.replace(old, new)
    if "z = " in new:
        kind = "int64" if "limit" in new else "int64[m, 8, 1, 1]"
        text = text.replace("=> (float[n, 4, 6, 4] y)", f"=> (float[n, 4, 6, 4] y, {kind} z)")
    reasons = frozen_reasons(net(text))
    assert "c" in reasons, reasons


OTHER_POOL = "g = Relu(c)\n same, j = MaxPool<kernel_shape = [1, 1], strides = [1, 1]>(g)"


BACKWARDS = """front = Constant<value_ints = [-1, 0, 0]>()
        back = Constant<value_ints = [-9, 1, 1]>()
        last = Constant<value_ints = [1, 2, 3]>()
        step = Constant<value_ints = [-1, 1, 1]>()
        corner = Slice(j, front, back, last, step)"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("same, j = MaxPool<kernel_shape = [1, 1], strides = [1, 1]>(c)", OTHER_POOL),
        ("int64[2] axes = {2, 3}", "int64[2] axes = {1, 2}"),
        ("corner = Slice(j, starts, ends, axes)", BACKWARDS),
        ("{0, 24, 48, 72", "{0, 24, 72, 48"),
        ("within = Sub(i, corner)", "within = Add(i, corner)"),
        ("indices = Unsqueeze", "z = Sub(places, corner)\n indices = Unsqueeze"),
    ],
)  # fmt: skip
def test_other_places_stay(old: str, new: str) -> None:
    """Other pools, one channel's for all, channels backwards, bases out of order, a sum, numbers read elsewhere."""
    assert old in UNPOOLED
    text = UNPOOLED.replace(old, new)
    if "z = Sub" in new:
        text = text.replace("=> (float[1, 4, 6, 4] y)", "=> (float[1, 4, 6, 4] y, int64[1, 8, 3, 2] z)")
    reasons = frozen_reasons(net(text))
    assert "c" in reasons, reasons
