"""Attention that loses dimensions of its heads: what is left of queries and keys keeps the scores."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from nets import analysed, net
from recoveries import Case, case

from onnxprune.graph.model import read_graph
from onnxprune.recovery.products import Mixed, mixed_targets

APART = """(float[n, 6, 12] x) => (float[n, 6, 5] y)
    <float[12, 16] wq, float[16] bq, float[12, 16] wk, float[16] bk, float[12, 16] wv, float[16, 5] wo,
     int64[4] heads = {0, 0, 2, 8}, int64[3] tokens = {0, 0, 16}, float scale = {0.35}> {
        q0 = MatMul(x, wq)
        q1 = Add(q0, bq)
        q2 = Reshape(q1, heads)
        q3 = Transpose<perm = [0, 2, 1, 3]>(q2)
        q = Mul(q3, scale)
        k0 = MatMul(x, wk)
        k1 = Add(bk, k0)
        k2 = Reshape(k1, heads)
        k = Transpose<perm = [0, 2, 3, 1]>(k2)
        v0 = MatMul(x, wv)
        v1 = Reshape(v0, heads)
        v = Transpose<perm = [0, 2, 1, 3]>(v1)
        s = MatMul(q, k)
        p = Softmax<axis = -1>(s)
        c = MatMul(p, v)
        c1 = Transpose<perm = [0, 2, 1, 3]>(c)
        c2 = Reshape(c1, tokens)
        y = MatMul(c2, wo)
    }"""

FUSED = """(float[n, 6, 12] x) => (float[n, 6, 5] y)
    <float[12, 48] w, float[48] b, float[16, 5] wo, int64[5] parts = {0, 0, 3, 2, 8}, int64[3] tokens = {0, 0, 16},
     int64 one = {0}, int64 two = {1}, int64 three = {2}> {
        a = MatMul(x, w)
        e = Add(a, b)
        r = Reshape(e, parts)
        t = Transpose<perm = [2, 0, 3, 1, 4]>(r)
        q = Gather<axis = 0>(t, one)
        k0 = Gather<axis = 0>(t, two)
        v = Gather<axis = 0>(t, three)
        k = Transpose<perm = [0, 1, 3, 2]>(k0)
        s = MatMul(q, k)
        p = Softmax<axis = -1>(s)
        c = MatMul(p, v)
        c1 = Transpose<perm = [0, 2, 1, 3]>(c)
        c2 = Reshape(c1, tokens)
        y = MatMul(c2, wo)
    }"""


def low_rank(text: str, *names: str, rank: int = 4) -> onnx.ModelProto:
    """A net in which every head of these weights has no more than `rank` dimensions of its own."""
    model = net(text)
    rng = np.random.default_rng(3)
    for tensor in model.graph.initializer:
        if tensor.name in names:
            value = onnx.numpy_helper.to_array(tensor)
            parts = np.split(value, value.shape[-1] // 8, axis=-1)
            basis = [rng.normal(size=(rank, 8)) for _ in parts]
            thin = [part[..., :rank] @ one for part, one in zip(parts, basis, strict=True)]
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.concatenate(thin, -1).astype(np.float32), tensor.name))
    return model


def halved(model: onnx.ModelProto, heads: Sequence[bool] = (True, True)) -> Case:
    """Half the dimensions of the heads gone, and of the heads what is said."""
    groups = analysed(model).prunable
    keep = {group.name: np.arange(group.size) < group.size // 2 for group in groups}
    keep.update({group.name: np.array(heads) for group in groups if group.size == len(heads)})
    return case(model, (6, 12), keep=keep, n=80)


def mixed(found: Case) -> dict[str, Mixed]:
    return mixed_targets(read_graph(found.model), found.result.masks, found.calls, 8)


@pytest.mark.parametrize("text", [APART, FUSED])
def test_both_sides_of_the_scores_are_made_anew_in_the_tensors_that_lead_there(text: str) -> None:
    found = halved(net(text))
    names = {"q0", "q1", "k0", "k1"} if text == APART else {"a", "e"}
    assert set(mixed(found)) == names
    for each in mixed(found).values():
        assert each.axis == 2
        assert each.matrix.shape == ((16, 8) if text == APART else (48, 24))


BIASED = {"q1 = Add(q0, bq)": "q1 = Identity(q0)", "k1 = Add(bk, k0)": "k1 = Identity(k0)"}


@pytest.mark.parametrize("thin", ["wq", "wk"])
def test_scores_of_low_rank_lose_nothing(thin: str) -> None:
    """Half of the dimensions is enough where either side has no more; V keeps its own."""
    text = APART
    for biased, plain in BIASED.items():
        text = text.replace(biased, plain)
    model = low_rank(text, thin)
    half = np.arange(8) < 4
    found = case(model, (6, 12), keep={"q0": half}, n=80)
    assert found.error(found.result.model) > 1e-3
    for way in ("fold", "refit"):
        assert found.error(found.recovered(way).model) < 1e-5


@pytest.mark.parametrize("heads", [(True, False), (False, True)])
def test_a_head_that_goes_as_well_leaves_the_other_as_it_would_be(heads: tuple[bool, bool]) -> None:
    """Where half of the dimensions are enough, what is lost is what the head alone loses."""
    text = APART
    for biased, plain in BIASED.items():
        text = text.replace(biased, plain)
    model = low_rank(text, "wq")
    alone = case(model, (6, 12), keep={"q0#2": np.array(heads)}, n=80)
    both = case(model, (6, 12), keep={"q0#2": np.array(heads), "q0": np.arange(8) < 4}, n=80)
    for way in ("fold", "refit"):
        expected = alone.error(alone.recovered(way).model)
        assert both.error(both.recovered(way).model) == pytest.approx(expected, rel=1e-3)
    assert both.error(both.result.model) > 1.05 * alone.error(alone.result.model)


@pytest.mark.parametrize("text", [APART, FUSED])
def test_less_is_lost_than_without(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = halved(net(text))
    after = found.error(found.recovered("refit").model)
    monkeypatch.setattr("recoveries.mixed_targets", lambda *_: {})
    assert after < 0.9 * found.error(found.recovered("refit").model)


def test_one_side_answers_where_the_other_cannot_be_followed() -> None:
    text = APART.replace("q = Mul(q3, scale)", "q = Tanh(q3)")
    found = halved(net(text))
    assert set(mixed(found)) == {"k0", "k1"}
    matrix = mixed(found)["k0"].matrix
    kept = [0, 1, 2, 3, 8, 9, 10, 11]
    np.testing.assert_array_equal(matrix[kept], np.eye(8))
    assert np.abs(matrix[4:8, :4]).min() > 0, "removed dimensions of a head go to the kept ones of that head"
    assert not matrix[4:8, 4:].any()


def test_where_neither_side_can_be_followed_nothing_is_mixed() -> None:
    text = APART.replace("q = Mul(q3, scale)", "q = Tanh(q3)").replace("(k2)", "(k3)")
    text = text.replace("k2 = Reshape(k1, heads)", "k2 = Reshape(k1, heads)\n k3 = Tanh(k2)")
    assert mixed(halved(net(text))) == {}


def test_without_a_cut_product_nothing_is_mixed() -> None:
    model = net(APART)
    found = case(model, (6, 12), keep={"v0": np.arange(8) < 4}, n=80)
    assert mixed(found) == {}


SHARED_KEYS = (
    APART.replace("[n, 6, 5] y)", "[n, 6, 5] y, float[n, 2, 6, 6] z)")
    .replace(
        "s = MatMul(q, k)",
        "p0 = MatMul(x, wp)\n p2 = Reshape(p0, heads)\n pp = Transpose<perm = [0, 2, 1, 3]>(p2)\n"
        " z = MatMul(pp, k)\n s = MatMul(q, k)",
    )
    .replace("float[12, 16] wq,", "float[12, 16] wq, float[12, 16] wp,")
)

SYMMETRIC = APART.replace("k1 = Add(bk, k0)", "k1 = Identity(q1)").replace("k0 = MatMul(x, wk)", "")

RECIPROCAL = APART.replace("q = Mul(q3, scale)", "q = Div(scale, q3)").replace("k1 = Add(bk, k0)", "k1 = Tanh(k0)")

ONE_KEY = (
    APART.replace("wk, float[16] bk, float[12, 16] wv", "wk, float[8] bk, float[12, 8] wv")
    .replace("float[12, 16] wk", "float[12, 8] wk")
    .replace("int64[3] tokens", "int64[4] one = {0, 0, 1, 8}, int64[3] tokens")
    .replace("Reshape(k1, heads)", "Reshape(k1, one)")
    .replace("Reshape(v0, heads)", "Reshape(v0, one)")
)


@pytest.mark.parametrize(
    "text",
    [SHARED_KEYS, SYMMETRIC, RECIPROCAL, ONE_KEY],
    ids=["keys of two products", "queries are keys", "a reciprocal is no scale", "heads that share their keys"],
)
def test_where_the_sides_are_not_each_their_own_nothing_is_mixed(text: str) -> None:
    found = halved(net(text))
    assert mixed(found) == {}
    assert found.error(found.recovered("refit").model) < found.error(found.result.model)
