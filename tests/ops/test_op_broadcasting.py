"""Ops that combine tensors element by element: which axes broadcasting lines up, and which it leaves alone."""

import pytest
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net

ARITHMETIC = "Add Sub Mul Div Max Min Mean Sum".split()


def two_branches(line: str, *, constants: str = "", first: int = 8) -> str:
    """Two layers a and b of equal width, combined into d."""
    return f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[{first}, 3, 1, 1] w0, float[8, 3, 1, 1] w1, float[4, 8, 1, 1] w2{constants}> {{
            a = Conv(x, w0)
            b = Conv(x, w1)
            {line}
            y = Conv(d, w2)
        }}"""


@pytest.mark.parametrize("op", ARITHMETIC)
def test_two_activations_are_tied(op: str) -> None:
    line = f"e = Exp(b) d = {op}(a, e)"
    model = net(two_branches(line))
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("op", ["Pow", "Mod"])
def test_powers_and_remainders_tie_both(op: str) -> None:
    attribute = "<fmod = 1>" if op == "Mod" else ""
    model = net(two_branches(f"e = Sigmoid(b) f = Sigmoid(a) d = {op}{attribute}(f, e)"))
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("op", "Equal Greater GreaterOrEqual Less LessOrEqual".split())
def test_comparisons_tie_both(op: str) -> None:
    model = net(two_branches(f"r = Round(a) s = Round(b) e = {op}(r, s) d = Cast<to = 1>(e)"))
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("op", "And Or Xor".split())
def test_logic_ties_both(op: str) -> None:
    model = net(
        two_branches(
            f"p = Greater(a, zero) q = Greater(b, zero) e = {op}(p, q) d = Cast<to = 1>(e)",
            constants=", float zero = {0}",
        )
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("op", "BitwiseAnd BitwiseOr BitwiseXor BitShift".split())
def test_bits_tie_both(op: str) -> None:
    attribute = '<direction = "LEFT">' if op == "BitShift" else ""
    line = f"p = Exp(a) q = Exp(b) i = Cast<to = 12>(p) j = Cast<to = 12>(q) e = {op}{attribute}(i, j)"
    model = net(two_branches(f"{line} d = Cast<to = 1>(e)"), opset=18)
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize(
    ("shape", "after"),
    [
        ("", ()),
        ("1", (1,)),
        ("5", (5,)),
        ("8, 1, 1", (4, 1, 1)),
        ("1, 8, 1, 1", (1, 4, 1, 1)),
        ("1, 1, 1, 1", (1, 1, 1, 1)),
        ("8, 5, 5", (4, 5, 5)),
        ("1, 5, 1", (1, 5, 1)),
        ("1, 1, 5, 5", (1, 1, 5, 5)),
    ],
)
@pytest.mark.parametrize("op", ["Add", "Mul", "Max"])
def test_constants_of_any_shape_follow_only_where_they_have_the_channels(
    op: str, shape: str, after: tuple[int, ...]
) -> None:
    kind = f"float[{shape}]" if shape else "float"
    line = f"e = {op}(k, a) f = {op}(e, k) d = Add(f, b)"
    model = net(two_branches(line, constants=f", {kind} k"))
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("k") == after


def test_a_single_channel_meets_many_without_being_tied() -> None:
    model = net(two_branches("g = Sigmoid(a) d = Mul(g, b)", first=1))
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_an_operand_of_lower_rank_lines_up_from_the_right() -> None:
    model = net("""(float[n, 4, 5] x, float[5] z) => (float[n, 4, 3] y)
        <float[5, 6] w0, float[5, 6] w1, float[6, 3] w2> {
            a = MatMul(x, w0)
            b = MatMul(z, w1)
            d = Add(a, b)
            y = MatMul(d, w2)
        }""")
    assert group_sizes(model) == [6]
    assert_cut_equals_mask(model)


def test_squeeze_and_excitation_gate_follows_its_block() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[6, 8, 1, 1] w1, float[6] b1, float[8, 6, 1, 1] w2, float[4, 8, 1, 1] w3> {
            a = Conv(x, w0)
            p = GlobalAveragePool(a)
            s = Conv(p, w1, b1)
            r = Relu(s)
            e = Conv(r, w2)
            g = HardSigmoid(e)
            d = Mul(a, g)
            y = Conv(d, w3)
        }""")
    assert group_sizes(model) == [6, 8]
    assert_cut_equals_mask(model)


def test_sum_of_three_ties_all() -> None:
    model = net(two_branches("c = Conv(x, w1) d = Sum(a, b, c)"))
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize("condition", ["8, 1, 1", "1", "5, 5"])
def test_the_condition_of_where_is_tied_like_the_rest(condition: str) -> None:
    model = net(
        two_branches(
            "q = Greater(t, half) d = Where(q, a, b)", constants=f", float[{condition}] t, float half = {{0.5}}"
        )
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_a_condition_of_activations_is_tied() -> None:
    model = net(two_branches("q = Greater(a, zero) d = Where(q, b, zero)", constants=", float zero = {0}"))
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


@pytest.mark.parametrize(("slope", "after"), [("8, 1, 1", (4, 1, 1)), ("1", (1,)), ("1, 1, 1", (1, 1, 1))])
def test_slopes_follow_their_channels(slope: str, after: tuple[int, ...]) -> None:
    model = net(two_branches("p = PRelu(a, k) q = PRelu(p, k) d = Add(q, b)", constants=f", float[{slope}] k"))
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("k") == after


def test_a_slope_shared_by_unrelated_layers_does_not_tie_them() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[8, 8, 1, 1] w1, float[4, 8, 1, 1] w2, float[8, 1, 1] k> {
            a = Conv(x, w0)
            p = PRelu(a, k)
            b = Conv(p, w1)
            q = PRelu(b, k)
            y = Conv(q, w2)
        }""")
    assert group_sizes(model) == [8, 8]
    assert_cut_equals_mask(model)


def test_broadcasting_by_the_rules_of_opset_6_freezes() -> None:
    model = net(
        """(float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1, float[8] k> {
            a = Conv(x, w0)
            d = Add<axis = 1, broadcast = 1>(a, k)
            y = Conv(d, w1)
        }""",
        opset=6,
        ir=3,
    )
    assert "it broadcasts by the rules of opset 6" in frozen_reasons(model)["a"]
