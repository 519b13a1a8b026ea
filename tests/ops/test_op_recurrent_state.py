"""The initial state of a recurrent layer under a free batch, made by ConstantOfShape."""

import onnx
import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net


def recurrent_net(shape: str, sizes: str = "", more: str = "") -> onnx.ModelProto:
    """A GRU of 6 units over the features of a MatMul, its initial state made by `shape`."""
    return net(
        f"""(float[5, n, 7] x) => (float[5, 1, n, 3] y{more})
        <float[7, 8] w0, float[1, 18, 8] w, float[1, 18, 6] r, float[1, 36] b, float[6, 3] w1,
         int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] six = {{6}}{sizes}>
        {{
            a = MatMul(x, w0)
            s = Shape(a)
            n1 = Slice(s, one, two)
            {shape}
            h0 = ConstantOfShape<value = float[1] {{0.5}}>(d)
            h, last = GRU<hidden_size = 6>(a, w, r, b, , h0)
            y = MatMul(h, w1)
        }}"""
    )


def test_the_state_of_a_recurrent_layer_with_a_free_batch() -> None:
    model = recurrent_net("d = Concat<axis = 0>(one, n1, six)")
    assert group_sizes(model) == [6, 8]
    checked = assert_cut_equals_mask(model)
    assert list(checked.node("d").input) == ["one", "n1", "six_cut1"]
    assert checked.value("six_cut1").tolist() == [3]


def test_a_width_within_a_part_that_is_fixed_is_counted_alone() -> None:
    model = recurrent_net("t = Concat<axis = 0>(one, n1) d = Concat<axis = 0>(t, six)")
    assert group_sizes(model) == [6, 8]
    checked = assert_cut_equals_mask(model, free={"n": 3})
    assert list(checked.node("d").input) == ["t", "six_cut1"]


@pytest.mark.parametrize("reader", ["z = Identity(d)", "z = ConstantOfShape(d)"])
def test_a_shape_that_others_read_too_freezes(reader: str) -> None:
    kind = "int64[3] z" if "Identity" in reader else "float[1, n, 6] z"
    model = recurrent_net(f"d = Concat<axis = 0>(one, n1, six) {reader}", more=f", {kind}")
    assert group_sizes(model) == [8]
    assert "together with sizes known only at run time" in frozen_reasons(model)["h"]


def test_a_shape_made_of_free_and_fixed_sizes_in_one_part_freezes() -> None:
    model = recurrent_net(
        "s3 = Concat<axis = 0>(one, n1, one) d = Where(which, s3, fixed)",
        sizes=", bool[3] which = {1, 1, 0}, int64[3] fixed = {1, 1, 6}",
    )
    assert group_sizes(model) == [8]
    assert "ConstantOfShape" in frozen_reasons(model)["h"]
