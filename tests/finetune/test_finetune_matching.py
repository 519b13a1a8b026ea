"""Match: a pruned network follows the original's blocks, without labels, and never loses on the samples that judge."""

import numpy as np
import onnx
import pytest
from nets import net
from numpy.typing import NDArray
from recoveries import case

pytest.importorskip("torch")

from onnxprune.finetune import matching
from onnxprune.graph.model import read_graph
from onnxprune.recovery.recovery import RECOVERIES, RecoveryTask, in_trials, steps

RESIDUAL = """(float[N,3,8,8] x) => (float[N,5] y)
    <float[8,3,3,3] w0, float[8] b0, float[16,8,3,3] w1, float[16] b1, float[8,16,3,3] w2, float[8] b2, float[8,5] v>
    { s = Conv<pads=[1,1,1,1]>(x, w0, b0) t = Relu(s) a = Conv<pads=[1,1,1,1]>(t, w1, b1) r = Relu(a)
      c = Conv<pads=[1,1,1,1]>(r, w2, b2) z = Add(t, c) p = GlobalAveragePool(z) f = Flatten(p) y = MatMul(f, v) }"""

PLAIN = """(float[N,3,8,8] x) => (float[N,5] y)
    <float[8,3,3,3] w0, float[8,8,3,3] w1, float[128,5] v>
    { a = Conv<pads=[1,1,1,1]>(x, w0) r = Relu(a) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
      c = Conv<pads=[1,1,1,1]>(m, w1) q = Relu(c) p = GlobalAveragePool(q) f = Flatten(c) y = MatMul(f, v) }"""


def test_targets_are_sums_else_the_ends_of_stages() -> None:
    assert matching.targets(read_graph(net(RESIDUAL))) == ("z",)
    assert matching.targets(read_graph(net(PLAIN)))[:2] == ("r", "q")


def test_the_rate_is_one_cycle() -> None:
    rates = [matching.rate_factor(done) for done in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.0)
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)
    assert int(np.argmax(rates)) == 20


@pytest.mark.parametrize(("text", "most"), [(RESIDUAL, 0.97), (PLAIN, 1.01)])  # refit leaves nothing in the second
def test_it_mends_what_refit_leaves_and_gives_the_same_bytes_again(
    text: str, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "STEPS", 120)
    found = case(net(text), (3, 8, 8), n=160)
    before = found.error(found.recovered("refit").model)
    after = found.recovered("match")
    assert found.error(after.model) < most * before
    assert all(0 <= left < 1.5 for left in after.solved.values())
    again = found.recovered("match")
    assert again.model.SerializeToString(deterministic=True) == after.model.SerializeToString(deterministic=True)
    onnx.checker.check_model(after.model, full_check=True)


def test_nothing_better_leaves_the_weights_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "RATES", (0.0,))
    monkeypatch.setattr(matching, "FIRST", 0)
    monkeypatch.setattr(matching, "STEPS", 6)
    found = case(net(RESIDUAL), (3, 8, 8), n=80)
    assert found.recovered("match").model == found.recovered("refit").model


def test_it_comes_after_refit_and_takes_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [step.name for step in steps("match")] == ["fold", "refit", "match"]
    monkeypatch.setattr("onnxprune.finetune.installed.find_spec", lambda _: None)
    with pytest.raises(Exception, match="torch"):
        steps("match")
    assert RECOVERIES["match"].after == "refit"


def test_plans_are_tried_by_what_is_quick() -> None:
    assert in_trials("match") == "refit"
    assert [in_trials(name) for name in ("none", "bias", "refit")] == ["none", "bias", "refit"]


def test_images_are_mirrored_and_shifted_and_nothing_else_is() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 3, 16, 24)).astype(np.float32)
    given = {"x": images, "m": images[:, :, :8, :8], "t": images[:, 0, 0]}
    found = matching.varied(given, rng)
    assert found["x"].shape == images.shape
    assert found["x"].dtype == images.dtype
    wide = np.pad(images, ((0, 0), (0, 0), (2, 2), (3, 3)), mode="reflect")
    ways = set()
    for number, image in enumerate(found["x"]):
        fits = [
            (turned, y, x)
            for turned in (False, True)
            for y in range(5)
            for x in range(7)
            if np.array_equal(_turned(wide[number], turned)[:, y : y + 16, x : x + 24], image)
        ]
        assert fits, "neither mirrored nor shifted, but something else"
        ways.update(fits)
    assert {turned for turned, _, _ in ways} == {False, True}
    assert len(ways) > 30
    assert found["m"] is given["m"]
    assert found["t"] is given["t"]


def _turned(image: NDArray[np.float32], turned: bool) -> NDArray[np.float32]:
    return image[..., ::-1] if turned else image


@pytest.mark.parametrize(
    ("errors", "first", "best"),
    [
        ([4, 3, 2, 1], 2, 3),
        ([1, 2, 3, 4], 2, 0),
        ([3, 2, 1, 2], 2, 2),
        ([3, 1, 2, 0], 2, 1),
        ([5], 0, 0),
    ],
)
def test_a_rate_is_taken_that_no_neighbour_is_better_than(errors: list[int], first: int, best: int) -> None:
    tried: list[int] = []

    def error(place: int) -> float:
        tried.append(place)
        return errors[place]

    assert matching.best_rate(len(errors), first, error) == best
    assert len(tried) == len(set(tried))


def test_what_is_kept_is_best_on_the_outputs_and_its_course_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "STEPS", 60)
    found = case(net(RESIDUAL), (3, 8, 8), n=160).recovered("match")
    assert [steps for steps, _ in found.history] == [10, 20, 30, 40, 50, 60]
    assert all(error > 0 for _, error in found.history)


@pytest.mark.parametrize(("share", "least"), [(0.5, 2.0), (0.75, 4 / 3), (1.0, 1.0)])
def test_weights_that_went_too_far_are_drawn_back(share: float, least: float) -> None:
    """The original's weights are right; training goes from wrong ones through them, and on."""
    model = net(RESIDUAL)
    found = case(model, (3, 8, 8), n=80)
    task = RecoveryTask(model, model, {}, found.calls, 64, 2)
    graph = read_graph(model)
    work = matching.Matching(graph, graph, task)
    right = {name: value.detach().clone() for name, value in work.student.trained().items()}
    start = {name: value + 0.1 * value.std() for name, value in right.items()}
    weights = {name: start[name] + least * (right[name] - start[name]) for name in right}
    work.student.load_state_dict(weights, strict=False)
    judged = work.judged()
    best = work.drawn_back(matching.Cycle(judged, judged, weights), start)
    assert best.weights is not None
    for name, value in best.weights.items():
        np.testing.assert_allclose(value.numpy(), right[name].numpy(), atol=1e-6)
    assert (best.weights is weights) == (share == 1.0)
