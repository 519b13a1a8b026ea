"""Match: a pruned network follows the original's blocks, without labels, and never loses on the samples that judge."""

import numpy as np
import onnx
import pytest
from nets import net
from recoveries import case

pytest.importorskip("torch")

from onnxprune.finetune import matching
from onnxprune.graph.model import read_graph
from onnxprune.recovery.recovery import RECOVERIES, in_trials, steps

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
    monkeypatch.setattr(matching, "RATE", 0.0)
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


def test_images_are_mirrored_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 3, 16, 16)).astype(np.float32)
    found = matching.mirrored({"x": images, "m": images[:, :, :8, :8], "t": images[:, 0, 0]}, rng)
    turned = [np.array_equal(one, other[..., ::-1]) for one, other in zip(found["x"], images, strict=True)]
    same = [np.array_equal(one, other) for one, other in zip(found["x"], images, strict=True)]
    assert all(a != b for a, b in zip(turned, same, strict=True))
    assert 16 < sum(turned) < 48
    assert found["m"] is not None
    assert np.array_equal(found["m"], images[:, :, :8, :8])
    assert np.array_equal(found["t"], images[:, 0, 0])
