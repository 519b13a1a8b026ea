"""LSTM, GRU and RNN: hidden units go with all their gates, states and directions."""

import onnx
import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent_net(op: str, *, directions: int = 1, attributes: str = "", extra: str = "") -> onnx.ModelProto:
    """Conv features -> recurrent layer of 6 units -> MatMul head; every weight is an initializer."""
    gates = GATES[op]
    direction = "bidirectional" if directions == 2 else "forward"
    return net(
        f"""(float[5, n, 7] x) => (float[5, n, 3] y)
        <float[7, 8] w0, float[{directions}, {gates * 6}, 8] w, float[{directions}, {gates * 6}, 6] r,
         float[{directions}, {2 * gates * 6}] b, float[{directions * 6}, 3] w1>
        {{
            a = MatMul(x, w0)
            h, last = {op}<hidden_size = 6, direction = "{direction}"{attributes}>(a, w, r, b{extra})
            t = Transpose<perm = [0, 2, 1, 3]>(h)
            shape = Constant<value_ints = [5, -1, {directions * 6}]>()
            f = Reshape(t, shape)
            y = MatMul(f, w1)
        }}"""
    )


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("directions", [1, 2])
def test_hidden_units_are_cut_with_all_gates_and_directions(op: str, directions: int) -> None:
    model = recurrent_net(op, directions=directions)
    assert group_sizes(model) == [6, 8]
    result = assert_cut_equals_mask(model).model
    node = next(node for node in result.graph.node if node.op_type == op)
    assert next(a.i for a in node.attribute if a.name == "hidden_size") == 3


def test_a_gru_with_the_reset_after_the_product_is_cut_alike() -> None:
    assert_cut_equals_mask(recurrent_net("GRU", attributes=", linear_before_reset = 1"))


def test_states_peepholes_and_the_last_state_go_along() -> None:
    model = net(
        """(float[5, n, 7] x) => (float[1, n, 3] y)
        <float[1, 24, 7] w, float[1, 24, 6] r, float[1, 48] b, float[1, 1, 6] h0, float[1, 1, 6] c0, float[1, 18] p,
         float[6, 3] w1>
        {
            h, last, cell = LSTM<hidden_size = 6>(x, w, r, b, , h0, c0, p)
            both = Add(last, cell)
            y = MatMul(both, w1)
        }"""
    )
    assert group_sizes(model) == [6]
    assert_cut_equals_mask(model, free={"n": 1})


def test_a_state_fed_from_outside_freezes_the_units() -> None:
    model = net(
        """(float[5, 1, 7] x, float[1, 1, 6] h0) => (float[5, 1, 1, 3] y)
        <float[1, 18, 7] w, float[1, 18, 6] r, float[1, 36] b, float[6, 3] w1>
        { h = GRU<hidden_size = 6>(x, w, r, b, , h0) y = MatMul(h, w1) }"""
    )
    assert group_sizes(model) == []
    assert any("graph input 'h0'" in reason for reason in frozen_reasons(model).values())
