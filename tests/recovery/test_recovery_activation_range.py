"""What a Relu or Clip behind a layer leaves of its errors, and the least squares that count by it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from nets import net
from numpy.typing import NDArray
from recoveries import case

from onnxprune.graph.model import read_graph
from onnxprune.recovery.activation_range import STEPS, ActivationRange, TargetRows, descend, find_activation_range
from onnxprune.recovery.ridge import Change, Moments

RELU = ActivationRange(0.0, np.inf)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Relu(a)", (0.0, np.inf)),
        ("y = Clip(a, zero, six)", (0.0, 6.0)),
        ("y = Clip(a, , six)", (-np.inf, 6.0)),
        ("b = Relu(a) c = Clip(a, one, six) y = Add(b, c)", (0.0, np.inf)),
        ("b = Relu(a) y = Add(b, a)", None),
        ("y = LeakyRelu(a)", None),
        ("y = Clip(a, low, six)", None),
    ],
)
def test_the_band_is_what_any_reader_lets_through(body: str, expected: tuple[float, float] | None) -> None:
    graph = read_graph(
        net(
            """(float[n,2,4,4] x, float low) => (float[n,3,4,4] y)
            <float[3,2,1,1] w, float zero = {0}, float one = {1}, float six = {6}> { a = Conv(x, w) """
            + body
            + " }"
        )
    )
    assert find_activation_range(graph, "a") == (None if expected is None else ActivationRange(*expected))


def test_limits_of_old_opsets_are_attributes_and_an_output_is_seen_whole() -> None:
    old = net(
        """(float[n,2,4,4] x) => (float[n,3,4,4] y, float[n,3,4,4] b) <float[3,2,1,1] w>
        { a = Conv(x, w) y = Clip<min=-1.0, max=1.0>(a) b = Conv(x, w) c = Relu(b) }""",
        opset=10,
    )
    assert find_activation_range(read_graph(old), "a") == ActivationRange(-1.0, 1.0)
    assert find_activation_range(read_graph(old), "b") is None


def test_what_is_beyond_a_limit_may_lie_anywhere_beyond_it() -> None:
    truth, found = np.array([-2.0, -2.0, 3.0, 8.0, 8.0]), np.array([-5.0, 1.0, -1.0, 9.0, 5.0])
    assert ActivationRange(0.0, 6.0).aim(truth, found).tolist() == [-5.0, 0.0, 3.0, 9.0, 6.0]


def example(groups: int = 1) -> TargetRows:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, groups, 4)).astype(np.float32)
    truth = rng.normal(size=(300, 2 * groups)) + x.reshape(300, -1)[:, :1]
    slope = np.array([2.0, -0.5] * groups, dtype=np.float32)
    return TargetRows(x, truth.astype(np.float32), rng.normal(size=(300, 2 * groups)).astype(np.float32), slope)


def system_of(rows: TargetRows) -> Moments:
    system = Moments(rows.x.shape[1], rows.x.shape[2], rows.truth.shape[1] // rows.x.shape[1])
    system.add(rows.x, rows.wanted())
    return system


def test_a_system_aimed_elsewhere_is_that_of_the_same_rows_with_other_wishes() -> None:
    rows = example(groups=2)
    other = np.random.default_rng(3).normal(size=rows.wanted().shape).astype(np.float32)
    anew = Moments(2, 4, 2)
    anew.add(rows.x, other)
    aimed = system_of(rows).aimed_at(rows.x, other)
    for ridge in (1e-3, 1.0):
        expected, found = anew.solve(ridge, biased=True), aimed.solve(ridge, biased=True)
        np.testing.assert_allclose(found.weight, expected.weight, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(found.bias, expected.bias, rtol=1e-6, atol=1e-8)
        assert aimed.error(found) == pytest.approx(anew.error(expected))


def test_descending_finds_the_least_error_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = example()
    system = system_of(rows)
    plain = system.solve(1e-5, biased=True)

    def error(values: NDArray[np.float64]) -> float:
        return rows.error(Change(values[:8].reshape(1, 4, 2), values[8:].reshape(1, 2)), RELU)

    best = scipy.optimize.minimize(error, np.zeros(10), method="Powell", options={"maxiter": 20000, "ftol": 1e-10}).fun
    steps = [rows.error(change, RELU) for change in descend(system, rows, plain, 1e-5, RELU, biased=True)]
    few = steps[-1]
    assert best < 0.95 * rows.error(plain, RELU), "the example has to have something to gain"
    assert best * (1 - 1e-6) <= few < 0.5 * best + 0.5 * rows.error(plain, RELU)
    monkeypatch.setattr("onnxprune.recovery.activation_range.STEPS", 60)
    *_, last = descend(system, rows, plain, 1e-5, RELU, biased=True)
    assert rows.error(last, RELU) == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("gain", [0.0, 0.02, 1.0])
def test_a_refit_goes_on_for_as_long_as_it_gains_on_samples_that_judge(
    monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    taken = []

    def counted(*args: Any, **more: Any) -> Iterator[Change]:
        taken.append(0)
        for change in descend(*args, **more):
            taken[-1] += 1
            yield change

    monkeypatch.setattr("onnxprune.recovery.ways.refit.descend", counted)
    monkeypatch.setattr("onnxprune.recovery.ways.refit.GAIN", gain)
    case(net(BODY % "Relu(e)"), (2, 6, 6), n=160).recovered("refit")
    assert taken
    if gain == 1.0:
        assert set(taken) == {1}
    else:
        assert max(taken) > 1
        assert max(taken) <= STEPS


BODY = """(float[n,2,6,6] x) => (float[n,6,6,6] y)
    <float[16,2,3,3] w, float[16] b, float[6,16,3,3] v,
     float[6] c = {-0.5, -0.5, -0.5, -0.5, -0.5, -0.5}, float low = {-0.3}, float high = {0.1}>
    { a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a) e = Conv<pads=[1,1,1,1]>(r, v, c) y = %s }"""


@pytest.mark.parametrize("activation", ["Relu(e)", "Clip(e, low, high)"])
def test_a_refit_in_front_of_an_activation_gives_back_more(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = case(net(BODY % activation), (2, 6, 6), n=160)
    aware = found.error(found.recovered("refit").model)
    monkeypatch.setattr("onnxprune.recovery.ways.refit.find_activation_range", lambda graph, tensor: None)
    assert aware < 0.98 * found.error(found.recovered("refit").model)


def test_what_is_too_large_to_hold_keeps_its_plain_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    found = case(net(BODY % "Relu(e)"), (2, 6, 6))
    monkeypatch.setattr("onnxprune.recovery.ways.refit.MOST_ELEMENTS", 10)
    held = found.recovered("refit").model
    monkeypatch.setattr("onnxprune.recovery.ways.refit.find_activation_range", lambda graph, tensor: None)
    plain = found.recovered("refit").model
    assert held.SerializeToString(deterministic=True) == plain.SerializeToString(deterministic=True)


def test_calls_of_a_single_sample_come_to_the_same() -> None:
    found = case(net(BODY % "Relu(e)"), (2, 6, 6))
    single = [{"x": sample[None]} for call in found.calls for sample in call["x"]]
    assert found.error(replace(found, calls=single).recovered("refit").model) == pytest.approx(
        found.error(found.recovered("refit").model), rel=1e-2
    )
