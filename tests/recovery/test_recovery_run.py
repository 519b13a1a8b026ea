"""Recovering a cut of a model in files: guards, memory, and models that cannot be recovered."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from large import one_file
from nets import net, random_keep, run, save_samples
from refusals import refused

import onnxprune
from onnxprune.data import Dataset, fit_and_judge
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.load import load_model
from onnxprune.graph.storage.weights import named_tensors
from onnxprune.recovery.recovery import RECOVERIES, Recovered, Recovery, RecoveryTask
from onnxprune.recovery.run import Judge, recover_steps
from onnxprune.recovery.samples import sample_calls
from onnxprune.surgery.cut import Cut, cut
from onnxprune.values.preprocess import Preprocess
from onnxprune.verification.recovered import check_recovered

CHAIN = """(float[n,2,6,6] x) => (float[n,3,6,6] y) <float[8,2,3,3] w, float[8] b, float[3,8,3,3] v, float[3] c>
    { a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, v, c) }"""


@pytest.fixture
def model(tmp_path: Path) -> Model:
    onnx.save(net(CHAIN), tmp_path / "net.onnx")
    values = np.random.default_rng(0).normal(size=(60, 2, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=values)
    return onnxprune.load(tmp_path / "net.onnx")


def data(model: Model) -> Dataset:
    return onnxprune.open_data(model.path.parent / "data.npz", model.graph.input_specs, Preprocess())


def halved(model: Model) -> Cut:
    analysis = onnxprune.inspect(model)
    return cut(analysis, random_keep(analysis))


def error(model: Model, slim: onnx.ModelProto, seed: int = 5) -> float:
    feed = {"x": np.random.default_rng(seed).normal(size=(20, 2, 6, 6)).astype(np.float32)}
    truth, found = run(model.proto, feed)[0], run(slim, feed)[0]
    return float(np.square(truth - found).sum() / np.square(truth).sum())


@pytest.mark.parametrize("name", ["bias", "fold", "refit"])
def test_no_recovery_makes_unseen_samples_worse(model: Model, name: str) -> None:
    result = halved(model)
    before = error(model, result.model)
    assert error(model, onnxprune.recover(model, result, data(model), name).model) <= before * 1.001
    assert name != "refit" or error(model, onnxprune.recover(model, result, data(model)).model) < 0.8 * before


def test_none_leaves_the_cut_as_it_is(model: Model) -> None:
    result = halved(model)
    assert onnxprune.recover(model, result, data(model), "none") is result


def test_a_step_that_makes_it_worse_is_undone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(task: RecoveryTask) -> Recovered:
        found = onnx.ModelProto()
        found.CopyFrom(task.pruned)
        tensor = named_tensors(found.graph)["v"]
        tensor.CopyFrom(onnx.numpy_helper.from_array(100 * onnx.numpy_helper.to_array(tensor), "v"))
        return Recovered(found, {"y": 0.0})

    bad = Recovery("bad", "spoils", spoil)
    monkeypatch.setattr("onnxprune.recovery.run.steps", lambda name: (RECOVERIES["refit"], bad))
    good, spoiled = recover_steps(model.graph, halved(model), *fit_and_judge(data(model), 0), "any")
    assert not good.dropped
    assert spoiled.dropped
    assert good.before > good.error == spoiled.before < spoiled.error
    assert onnxprune.recover(model, halved(model), data(model), "any").model == good.cut.model


def test_weights_in_files_are_recovered_like_those_inside(tmp_path: Path) -> None:
    path = one_file(tmp_path / "in")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "net.onnx").write_bytes(load_model(path).SerializeToString(deterministic=True))
    save_samples(tmp_path / "d.npz", 16, 1, 8, 8)
    found = []
    for name, place in (("out", path), ("slim", tmp_path / "whole" / "net.onnx")):
        (tmp_path / name).mkdir()
        onnxprune.prune(place, tmp_path / "d.npz", "random", ratio=0.5, round_to=1, output=tmp_path / name / "net.onnx")
        found.append(load_model(tmp_path / name / "net.onnx"))
    assert found[0] == found[1]
    assert {entry.key for entry in found[0].metadata_props} >= {"onnxprune.recovery"}


def test_quantized_models_are_not_recovered(tmp_path: Path) -> None:
    text = """(float[n,2,6,6] x) => (float[n,3,6,6] y) <float s, uint8 z, float[8,2,1,1] w, float[3,8,1,1] v>
        { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) a = Conv(d, w) y = Conv(a, v) }"""
    onnx.save(net(text), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=np.zeros((10, 2, 6, 6), np.float32))
    loaded = onnxprune.load(tmp_path / "net.onnx")
    with refused("unsupported-model", "net.onnx", "quantized"):
        onnxprune.recover(loaded, halved(loaded), data(loaded))


def test_every_sample_is_fed_once_and_no_call_has_samples_to_fit_and_to_judge_by(model: Model) -> None:
    fit, judge = fit_and_judge(data(model), 0)
    assert (len(fit), len(judge)) == (48, 12)
    calls = sample_calls(model.graph, None, (fit, judge), 1 << 30)
    assert [len(call["x"]) for call in calls] == [16, 16, 16, 12]
    assert calls.counts == (3, 1)
    fed = np.concatenate([call["x"] for call in calls])
    whole = next(data(model).batches(60)).feeds["x"]
    assert sorted(fed.reshape(60, -1).tolist()) == sorted(whole.reshape(60, -1).tolist())
    filled = sample_calls(model.graph, 5, (fit, judge), 1 << 30)
    assert {len(call["x"]) for call in filled} == {5}
    assert filled.counts == (10, 3)


def test_a_small_memory_makes_calls_small_and_leaves_the_result_alike(model: Model) -> None:
    fit, judge = fit_and_judge(data(model), 0)
    per_sample = 4 * 36 * (8 + 8)  # the two maps between which the activation lies
    assert len(sample_calls(model.graph, None, (fit, judge), 8 * 3 * per_sample)[0]["x"]) == 3
    assert len(sample_calls(model.graph, None, (fit, judge), 1)[0]["x"]) == 1
    result = halved(model)
    large, small = (onnxprune.recover(model, result, data(model), memory=memory) for memory in (1 << 30, 1))
    assert error(model, small.model) == pytest.approx(error(model, large.model), rel=0.1)


def test_where_one_sample_is_all_there_is_nothing_is_changed(model: Model) -> None:
    result = halved(model)
    assert onnxprune.recover(model, result, data(model).subset([0])).model == result.model


def test_a_recovered_model_may_differ_in_its_weights_alone(model: Model) -> None:
    result = halved(model)
    found = onnxprune.recover(model, result, data(model))
    feeds = [{"x": np.zeros((2, 2, 6, 6), np.float32)}]
    before, after = named_tensors(result.model.graph), named_tensors(found.model.graph)
    changed = {name: after[name] for name in after if before[name] != after[name]}
    check_recovered(result.model, found.model, changed, feeds)
    with refused("recovery-failed", "more of the model than its weights"):
        check_recovered(result.model, found.model, {name: changed[name] for name in changed if name != "v"}, feeds)
    with refused("recovery-failed", "'v' are not those that recovery solved for"):
        check_recovered(result.model, found.model, changed | {"v": before["v"]}, feeds)
    found.model.graph.node[1].op_type = "Sigmoid"
    with refused("recovery-failed", "more of the model than its weights"):
        check_recovered(result.model, found.model, changed, feeds)


def test_weights_that_are_no_numbers_are_refused(model: Model) -> None:
    result = halved(model)
    spoiled = onnx.ModelProto()
    spoiled.CopyFrom(result.model)
    tensor = named_tensors(spoiled.graph)["c"]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), "c"))
    with refused("recovery-failed", "'c'"):
        check_recovered(result.model, spoiled, {"c": tensor}, [])
    huge = np.full((3, 4, 3, 3), 3e38, np.float32)
    named_tensors(spoiled.graph)["v"].CopyFrom(onnx.numpy_helper.from_array(huge, "v"))
    tensor.CopyFrom(named_tensors(result.model.graph)["c"])
    feeds = [{"x": np.ones((2, 2, 6, 6), np.float32)}]
    with refused("recovery-failed", "recovered model"):
        check_recovered(result.model, spoiled, {name: named_tensors(spoiled.graph)[name] for name in "cv"}, feeds)


def test_of_integer_outputs_the_elements_that_differ_judge() -> None:
    """A network whose only output is a class map: stages are not all alike."""
    text = CHAIN.replace("float[n,3,6,6] y)", "int64[n,1,6,6] z)").replace(
        "(r, v, c) }", "(r, v, c) z = ArgMax<axis = 1>(y) }"
    )
    whole = net(text)
    calls = [{"x": np.random.default_rng(number).normal(size=(4, 2, 6, 6)).astype(np.float32)} for number in range(3)]
    judge = Judge(whole, calls, range(1, 3), {}, 1 << 20)
    assert judge.error(whole) == 0.0
    other = onnx.ModelProto()
    other.CopyFrom(whole)
    weight = named_tensors(other.graph)["v"]
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), "v"))
    expected = [run(model, calls[number])[0] for model in (whole, other) for number in (1, 2)]
    differ = np.mean([first != second for first, second in zip(expected[:2], expected[2:], strict=True)])
    assert judge.error(other) == pytest.approx(differ)
    assert 0.2 < differ < 1
