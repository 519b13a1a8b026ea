"""Numbers that the graph reads with Shape: sizes follow the cut, arithmetic keeps its value, graph outputs freeze."""

import onnx
import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


def test_a_width_from_shape_that_sizes_a_reshape_becomes_the_new_one() -> None:
    """View(b, c, 1, 1) of a squeeze-and-excitation block, with a free batch."""
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8, 6] w1, float[6, 8] w2, float[4, 8, 1, 1] w3,
         int64 i0 = {0}, int64 i1 = {1}, int64[1] front = {0}, int64[1] one = {1}> {
            c = Conv(x, w0)
            s = Shape(c)
            b0 = Gather(s, i0)
            b = Unsqueeze(b0, front)
            k0 = Gather(s, i1)
            k = Unsqueeze(k0, front)
            p = GlobalAveragePool(c)
            flat = Concat<axis = 0>(b, k)
            f = Reshape(p, flat)
            m = MatMul(f, w1)
            r = Relu(m)
            e = MatMul(r, w2)
            g = Sigmoid(e)
            shape = Concat<axis = 0>(b, k, one, one)
            h = Reshape(g, shape)
            d = Mul(c, h)
            y = Conv(d, w3)
        }""")
    assert group_sizes(model) == [6, 8]
    for batch in (1, 3):
        checked = assert_cut_equals_mask(model, free={"n": batch})
    assert not checked.result.edits.operands  # the subgraph computes the new width by itself


def test_a_width_from_another_groups_shape_is_written_down_with_the_batch_left_free() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8, 3, 1, 1] w1, float[4, 8, 1] w2, int64[4] out = {0, 4, 5, 5}, int64 i0 = {0},
         int64 i1 = {1}, int64[1] front = {0}, int64[1] area = {25}, float[4, 8, 1, 1] w3> {
            a = Conv(x, w0)
            c = Conv(x, w1)
            s = Shape(a)
            b0 = Gather(s, i0)
            b = Unsqueeze(b0, front)
            k0 = Gather(s, i1)
            k = Unsqueeze(k0, front)
            t = Concat<axis = 0>(b, k, area)
            f = Reshape(c, t)
            d = Conv(f, w2)
            e = Reshape(d, out)
            g = Conv(a, w3)
            y = Add(e, g)
        }""")
    assert group_sizes(model) == [8, 8]
    for name in ("a", "c"):
        keep = {name: assert_cut_equals_mask(model).keep[name]}
        for batch in (1, 3):
            checked = assert_cut_equals_mask(model, keep, free={"n": batch})
        written = checked.value(checked.node("f").input[1])
        assert list(written) == [0, 8 if name == "a" else 4, 25]


def test_a_width_in_arithmetic_on_activations_keeps_its_original_value() -> None:
    """The attention scale 1 / sqrt(width)."""
    model = net("""(float[n, 3, 5] x) => (float[n, 3, 4] y)
        <float[5, 8] w0, float[8, 4] w1, int64 last = {-1}> {
            c = MatMul(x, w0)
            s = Shape(c)
            k = Gather(s, last)
            f = Cast<to = 1>(k)
            r = Sqrt(f)
            q = Reciprocal(r)
            d = Mul(c, q)
            y = MatMul(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert float(checked.value(checked.node("d").input[1])) == pytest.approx(8**-0.5, rel=1e-6)
    assert "Shape" not in {node.op_type for node in checked.model.graph.node}


def test_one_number_may_size_one_thing_and_scale_another() -> None:
    model = net("""(float[2, 3, 5] x) => (float[2, 3, 4] y)
        <float[5, 8] w0, float[8, 4] w1, int64[1] two = {2}, int64[1] three = {3}, int64[2] front = {2, 3}> {
            c = MatMul(x, w0)
            s = Shape(c)
            k = Slice(s, two, three)
            t = Concat<axis = 0>(front, k)
            e = Reshape(c, t)
            f = Cast<to = 1>(k)
            d = Div(e, f)
            y = MatMul(d, w1)
        }""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert float(checked.value(checked.node("d").input[1])[0]) == 8.0


def test_a_shape_on_the_graph_output_freezes() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3, 4] y, int64[3] s) <float[5, 8] w0, float[8, 4] w1> {
            c = MatMul(x, w0)
            s = Shape(c)
            y = MatMul(c, w1)
        }""")
    assert frozen_reasons(model)["c"] == "c:2 its size is part of the graph output 's'"


def test_a_size_read_inside_a_subgraph_freezes() -> None:
    model = net("""(float[n, 3, 5] x, bool q) => (float[n, 3, 4] y, int64[3] z) <float[5, 8] w0, float[8, 4] w1> {
            c = MatMul(x, w0)
            s = Shape(c)
            y = MatMul(c, w1)
            z = If(q) <then_branch = yes () => (int64[3] t) { t = Identity(s) },
                       else_branch = no () => (int64[3] u) { u = Neg(s) }>
        }""")
    assert frozen_reasons(model)["c"] == "c:2 its size is read inside a subgraph of If (node 3)"


def test_a_shape_with_a_free_batch_that_cannot_be_written_down_freezes() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3, 4] y) <float[5, 8] w0, float[8, 4] w1> {
            c = MatMul(x, w0)
            s = Shape(c)
            z = ConstantOfShape(s)
            f = Cast<to = 1>(s)
            g = ReduceMax<keepdims = 0>(f)
            d = Mul(c, g)
            y = MatMul(d, w1)
        }""")
    reason = frozen_reasons(model)["c"]
    assert reason.startswith("c:2 its size reaches ")
    assert reason.endswith(" together with sizes known only at run time")


def test_shape_of_uncut_axes_does_no_harm() -> None:
    model = net("""(float[n, 3, h, w] x) => (float[n, 4, h, w] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, int64[1] two = {2}, int64[1] four = {4}> {
            c = Conv(x, w0)
            s = Shape(c)
            t = Slice(s, two, four)
            z = ConstantOfShape<value = float[1] {0.5}>(t)
            u = Add(c, z)
            y = Conv(u, w1)
        }""")
    assert group_sizes(model) == [8]
    assert not assert_cut_equals_mask(model).result.edits.operands


def test_a_product_of_batch_and_heads_is_not_taken_for_a_fixed_size() -> None:
    model = net(
        """(float[n, 4, 6] x) => (float[m, 3, 2] y)
        <float[6, 8] w0, float[4, 5] w1, float[5, 2] w2, int64[4] t = {0, 0, 2, 4}, int64[3] flat = {-1, 4, 4}> {
            c = MatMul(x, w0)
            h = Reshape(c, t)
            u = Transpose<perm = [0, 2, 1, 3]>(h)
            f = Reshape(u, flat)
            a = MatMul(f, w1)
            y = MatMul(a, w2)
        }""".replace("m, 3, 2", "m, 4, 2")
    )
    # 4 columns of both heads, and the columns that w1 makes; the heads themselves are folded into the free batch.
    assert group_sizes(model) == [4, 5]
    for batch in (1, 3):
        assert_cut_equals_mask(model, free={"n": batch})


VIEWS = """
    s = Shape(c)
    b0 = Gather(s, i0)
    b = Unsqueeze(b0, front)
    k0 = Gather(s, i1)
    k = Unsqueeze(k0, front)
"""


@pytest.mark.parametrize("space", ["5, 5", "h, w"])
def test_a_view_of_batch_channels_and_the_rest_is_handed_on(space: str) -> None:
    model = net(f"""(float[n, 3, {space}] x) => (float[n, 4, m] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1] w1, int64 i0 = {{0}}, int64 i1 = {{1}}, int64[1] front = {{0}},
         int64[1] rest = {{-1}}> {{
            c = Conv(x, w0)
            {VIEWS}
            t = Concat<axis = 0>(b, k, rest)
            f = Reshape(c, t)
            r = Sigmoid(f)
            y = Conv(r, w1)
        }}""")
    assert group_sizes(model) == [8]
    for batch in (1, 3):
        checked = assert_cut_equals_mask(model, free={"n": batch, "h": 4, "w": 6})
    assert not checked.result.edits.operands


def test_the_sizes_of_an_interpolation_are_handed_on() -> None:
    """Batch and channels from Shape, height and width as numbers."""
    model = net("""(float[n, 3, h, w] x) => (float[n, 4, 7, 9] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, int64[1] zero = {0}, int64[1] two = {2}, int64[2] hw = {7, 9}> {
            c = Conv(x, w0)
            s = Shape(c)
            bc = Slice(s, zero, two)
            sizes = Concat<axis = 0>(bc, hw)
            u = Resize<mode = "linear">(c, , , sizes)
            r = Sigmoid(u)
            y = Conv(r, w1)
        }""")
    assert group_sizes(model) == [8]
    for batch in (1, 3):
        checked = assert_cut_equals_mask(model, free={"n": batch, "h": 4, "w": 6})
    assert not checked.result.edits.operands


TWO_FREE = """(float[n, t, 6] x) => (float[n, t, 5] y)
    <float[6, 8] w0, float[6, 8] w1, float[8, 5] w2, float[8, 5] w3, int64[1] front = {0}, int64[1] second = {1},
     int64[1] third = {2}, int64[1] one = {1}, int64[1] fourth = {3}> {
        a = MatMul(x, w0)
        c = MatMul(x, w1)
        s = Shape(a)
        b = Gather(s, front)
        tokens = Gather(s, second)
        k = Gather(s, third)
        NODES
        v = MatMul(a, w3)
        y = Add(u, v)
    }"""


def test_one_target_of_two_readers_is_written_down_for_each() -> None:
    """The width of `a` sizes reshapes of `c`: 0 copies a free size, which stands elsewhere in the other input."""
    model = net(
        TWO_FREE.replace(
            "NODES",
            """target = Concat<axis = 0>(b, tokens, k)
               wide = Unsqueeze(c, one)
               e = Reshape(c, target)
               f = Reshape(wide, target)
               g = Mul(e, f)
               u = MatMul(g, w2)""",
        )
    )
    assert group_sizes(model) == [8, 8]
    for name, width in (("a", 8), ("c", 4)):
        keep = {name: assert_cut_equals_mask(model).keep[name]}
        for batch, tokens in ((1, 4), (2, 3)):
            checked = assert_cut_equals_mask(model, keep, free={"n": batch, "t": tokens})
        assert list(checked.value(checked.node("e").input[1])) == [0, 0, width]
        assert list(checked.value(checked.node("f").input[1])) == [0, -1, width]


def test_two_readers_of_the_same_kind_share_what_is_written_down() -> None:
    model = net(
        TWO_FREE.replace(
            "NODES",
            """target = Concat<axis = 0>(b, tokens, k)
               e = Reshape(c, target)
               n1 = Neg(c)
               f = Reshape(n1, target)
               g = Mul(e, f)
               u = MatMul(g, w2)""",
        )
    )
    keep = {"c": assert_cut_equals_mask(model).keep["c"]}
    checked = assert_cut_equals_mask(model, keep, free={"n": 2, "t": 3})
    assert checked.node("e").input[1] == checked.node("f").input[1]


def test_a_target_with_two_free_sizes_is_written_down() -> None:
    """Batch and tokens change places before the reshape."""
    model = net(
        TWO_FREE.replace(
            "NODES",
            """target = Concat<axis = 0>(tokens, b, k)
               wide = Unsqueeze(c, one)
               ct = Transpose<perm = [2, 1, 0, 3]>(wide)
               wider = Unsqueeze(ct, one)
               e = Reshape(wider, target)
               et = Transpose<perm = [1, 0, 2]>(e)
               u = MatMul(et, w2)""",
        )
    )
    # Tokens are copied by 0, the batch takes -1: still expressible, and so it is not frozen.
    assert group_sizes(model) == [8, 8]
    assert_cut_equals_mask(model, free={"n": 2, "t": 3})


FOLDED = """ct = Transpose<perm = [1, 0, 2]>(c)
            flat = Concat<axis = 0>(rest, third_number)
            cf = Reshape(ct, flat)
            unit = Concat<axis = 0>(one, tokens, b, k)
            e = Reshape(cf, unit)
            e3 = Squeeze(e, front)
            et = Transpose<perm = [1, 0, 2]>(e3)
            u = MatMul(et, w2)"""


def folded(more: str = "") -> onnx.ModelProto:
    """Batch and tokens come folded, so that 0 and -1 cannot say both."""
    text = TWO_FREE.replace("NODES", FOLDED + more)
    return net(text.replace("int64[1] fourth = {3}>", "int64[1] rest = {-1}, int64[1] third_number = {8}>"))


def test_the_width_in_a_target_with_two_free_sizes_is_replaced_before_its_concat() -> None:
    model = folded()
    assert group_sizes(model) == [8, 8]
    for name, width in (("a", 8), ("c", 4)):
        keep = {name: assert_cut_equals_mask(model).keep[name]}
        checked = assert_cut_equals_mask(model, keep, free={"n": 2, "t": 3})
        assert list(checked.node("unit").input[:3]) == ["one", "tokens", "b"]
        assert list(checked.value(checked.node("unit").input[3])) == [width]


def test_a_target_with_two_free_sizes_that_others_read_too_freezes() -> None:
    model = folded(" e9 = Reshape(cf, unit)")
    reason = "its size reaches Reshape (node 10) together with sizes known only at run time"
    reasons = frozen_reasons(model)
    assert reasons["a"] == f"a:2 {reason}"
    assert reasons["c"] == f"e:3 {reason}"
    assert group_sizes(model) == []


def test_a_width_that_a_copied_number_cannot_follow_is_frozen_with_its_resize() -> None:
    """Sizes of a Resize with a free batch cannot be written down, and the width comes from another group."""
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 9, 9] y, float[n, 4, 5, 5] z)
        <float[8, 3, 1, 1] w0, float[8, 3, 1, 1] w1, float[4, 8, 1, 1] w2, float[4, 8, 1, 1] w3,
         int64[1] zero = {0}, int64[1] two = {2}, int64[2] hw = {9, 9}> {
            a = Conv(x, w0)
            c = Conv(x, w1)
            s = Shape(a)
            bc = Slice(s, zero, two)
            sizes = Concat<axis = 0>(bc, hw)
            u = Resize(c, , , sizes)
            y = Conv(u, w2)
            z = Conv(a, w3)
        }""")
    reason = "its size reaches Resize (node 5) together with sizes known only at run time"
    assert frozen_reasons(model)["a"] == f"a:1 {reason}"
    assert frozen_reasons(model)["c"] == f"u:1 {reason}"
    assert group_sizes(model) == []


def test_a_constant_laid_out_by_a_width_and_given_away_freezes_that_width() -> None:
    """The numbers of `t` say nothing of c, but their layout does: with half of c it would be another table."""
    model = net("""(float[2, 3] x) => (float[2, 8] y, float[8, 5] t) <float[3, 8] w0, float[8, 8] w1, float[40] table,
        int64[1] rest = {-1}> {
            c = MatMul(x, w0)
            s = Shape<start = 1, end = 2>(c)
            target = Concat<axis = 0>(s, rest)
            t = Reshape(table, target)
            y = MatMul(c, w1)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 its size is part of the graph output 't'"
    assert group_sizes(model) == []


def test_a_constant_laid_out_by_a_width_and_used_with_activations_is_written_down() -> None:
    model = net("""(float[2, 8] x) => (float[2, 5] y, float[2, 4] z) <float[8, 8] w0, float[8, 4] w1, float[40] table,
        int64[1] rest = {-1}> {
            c = MatMul(x, w0)
            s = Shape<start = 1, end = 2>(c)
            target = Concat<axis = 0>(s, rest)
            t = Reshape(table, target)
            y = MatMul(x, t)
            r = Relu(c)
            z = MatMul(r, w1)
        }""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)
