"""The result in 8-bit integers: written beside the pruned model, measured apart, refused early where it can be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from attrs import evolve
from folders import contents, names
from nets import net
from places import CONVNET, RESNET, TEST
from quantized_nets import quantized
from refusals import refused

import onnxprune
from onnxprune.errors import Code, UnreachableError
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.execution import quantize as quantizing
from onnxprune.pipeline.execution.accept import int8_shortcomings
from onnxprune.pipeline.prune import prune as run
from onnxprune.runtime import Session, quantize_int8
from onnxprune.values.accuracy import count_accuracy
from onnxprune.values.outcome import Figures, Quality
from onnxprune.values.quantized import Quantized, effects

SMALL = """(float[N, 1, 8, 8] x) => (float[N, 3, 8, 8] y) <float[32, 1, 3, 3] w, float[3, 32, 3, 3] v>
    { a = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(a) y = Conv<pads = [1, 1, 1, 1]>(r, v) }"""


def job(data: Path | None, output: Path, model: Path = CONVNET, **more: Any) -> PruneConfig:
    plain = PruneConfig(model, data, output=output, method="l1", preprocess="unit", recovery="none", quantize="int8")
    goal = replace(plain.goal, budget=onnxprune.Budget(ratio=0.3))
    return evolve(plain, **{"goal": goal, **more})


def images(folder: Path, count: int = 12) -> Path:
    x = np.random.default_rng(0).standard_normal((count, 1, 8, 8)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    return folder / "x.npz"


def saved(folder: Path, text: str = SMALL, opset: int = 17) -> Path:
    model = net(text)
    model.opset_import[0].version = opset
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


@pytest.mark.parametrize("model", [RESNET, CONVNET], ids=["resnet", "convnet"])
def test_the_quantized_model_is_small_as_good_and_written_beside_the_pruned_one(
    few: Path, tmp_path: Path, model: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        result = run(job(few, tmp_path / name / "m.onnx", model, test=TEST))
    assert contents(tmp_path / "a") == contents(tmp_path / "b"), "the same bytes"
    assert set(contents(tmp_path / "a")) == {"m.onnx", "m.int8.onnx", "m.plan.json"}
    plain = run(job(few, tmp_path / "plain.onnx", model, test=TEST, quantize=None))
    assert (tmp_path / "plain.onnx").read_bytes() == (tmp_path / "a" / "m.onnx").read_bytes()
    assert plain.quantized is None
    assert plain.to_json()["quantized"] is None

    path = tmp_path / "b" / "m.int8.onnx"
    assert result.quantized_output == path
    found, size = result.quantized, path.stat().st_size
    assert found is not None
    assert found.size == size < 0.4 * (tmp_path / "b" / "m.onnx").stat().st_size
    assert found.quality.after is not None
    assert found.change.before is not None
    assert result.quality is not None
    assert found.change.before == result.quality.after, "measured against the pruned model"
    assert found.quality.before == result.quality.before
    assert abs(found.change.change or 0.0) <= 0.03

    float_model, int8 = onnx.load(tmp_path / "b" / "m.onnx"), onnx.load(path)
    onnx.checker.check_model(int8, full_check=True)
    assert [value.SerializeToString() for value in int8.graph.input] == [
        value.SerializeToString() for value in float_model.graph.input
    ]
    assert [value.name for value in int8.graph.output] == [value.name for value in float_model.graph.output]
    assert {entry.domain for entry in int8.opset_import} == {""}
    entries = {entry.key: entry.value for entry in int8.metadata_props}
    kept = {entry.key: entry.value for entry in float_model.metadata_props}
    assert entries == {**kept, "onnxprune.quantized": found.scheme}
    assert found.scheme == "activations in uint8, ranges from 80 samples; weights in int8, one scale for every channel"
    weights = [
        tensor
        for tensor in int8.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
    ]
    assert weights
    scales = {tensor.name: tensor for tensor in int8.graph.initializer}
    for tensor in weights:
        (reader,) = [node for node in int8.graph.node if tensor.name in node.input]
        assert list(scales[reader.input[1]].dims) == [tensor.dims[0]], "a scale for every channel"


def test_the_quantized_model_can_be_inspected(few: Path, tmp_path: Path) -> None:
    run(job(few, tmp_path / "m.onnx", RESNET))
    model = onnxprune.load(tmp_path / "m.int8.onnx")
    groups = onnxprune.inspect(model).groups
    assert sum(group.prunable for group in groups) == 8


def test_what_each_of_the_two_did_is_told_apart(few: Path, tmp_path: Path) -> None:
    result = run(evolve(job(few, tmp_path / "m.onnx", RESNET), goal=None, macs=0.02, round_to=1))
    told = result.to_json()["quantized"]
    assert result.after is not None
    sizes = [RESNET.stat().st_size, (tmp_path / "m.onnx").stat().st_size, (tmp_path / "m.int8.onnx").stat().st_size]
    effect = told["effects"]
    assert effect["pruning"]["size"] == sizes[1] / sizes[0]
    assert effect["quantization"]["size"] == sizes[2] / sizes[1]
    assert effect["both"]["size"] == sizes[2] / sizes[0]
    assert told["latency_ms"] > 0
    assert effect["quantization"]["latency"] == told["latency_ms"] / result.after.latency_ms
    changes = [effect[name]["top1"] for name in ("pruning", "quantization", "both")]
    assert changes[0] + changes[1] == pytest.approx(changes[2])
    assert changes[0] < -0.2, "what pruning cost is not put down to quantization"
    assert told["output"] == str(tmp_path / "m.int8.onnx")


def test_effects_without_labels_are_drifts() -> None:
    def quality(drift: float) -> Quality:
        return Quality("x", 1, drift={"y": drift, "z": 0.0})

    before, after = Figures(1, 1, 100, 1, 4.0), Figures(1, 1, 50, 1)
    found = effects(before, after, quality(0.2), Quantized("", 10, 1.0, quality(0.3), quality(0.25)))
    assert {name: (effect.size, effect.latency, effect.top1, effect.drift) for name, effect in found.items()} == {
        "pruning": (0.5, None, None, 0.2),
        "quantization": (0.2, None, None, 0.25),
        "both": (0.1, 0.25, None, 0.3),
    }


def test_a_poor_quantized_model_is_not_passed_over_in_silence() -> None:
    def quality(before: list[int], after: list[int]) -> Quality:
        labels = np.repeat([0, 1], 10)
        first, second = (count_accuracy(np.array(found), labels, 2) for found in (before, after))
        return Quality("x", 20, before=first, after=second, change=second.top1 - first.top1)

    right = [0] * 10 + [1] * 10
    after = Figures(1, 1, 100, 1, 2.0)
    good = Quantized("", 99, 2.0, quality(right, right), quality(right, right))
    assert not list(int8_shortcomings(after, good))
    poor = Quantized("", 100, 3.0, quality(right, [0] * 20), quality(right, [0] * 20))
    assert list(int8_shortcomings(after, poor)) == [
        "Quantization took 50.0 points of top-1.",
        "No image of 1 is classified right by the quantized model any more.",
        "The quantized model is slower here: 1.50 times the latency of the pruned one.",
        "The quantized file is not smaller: 100 bytes instead of 100.",
    ]


def test_data_files_are_read_and_the_result_is_one_file(tmp_path: Path) -> None:
    data, model = images(tmp_path), saved(tmp_path)
    onnx.save(onnx.load(model), model, save_as_external_data=True, location="net.bin", size_threshold=0)
    (tmp_path / "out").mkdir()
    result = run(job(data, tmp_path / "out" / "m.onnx", model, quantized_output=tmp_path / "q.onnx"))
    assert set(contents(tmp_path / "out")) == {"m.onnx", "m.plan.json", "net.bin"}
    assert result.quantized is not None
    assert result.quantized.quality.drift is not None
    assert 0 < result.quantized.change.drift["y"] < 0.2  # type: ignore[index]
    whole, small = (Session(path) for path in (tmp_path / "out" / "m.onnx", tmp_path / "q.onnx"))
    feed = {"x": np.random.default_rng(1).standard_normal((4, 1, 8, 8)).astype(np.float32)}
    old, new = whole.run(feed)["y"], small.run(feed)["y"]
    assert 0 < np.linalg.norm(new - old) / np.linalg.norm(old) < 0.2


def test_an_opset_without_scales_by_channel_has_one_for_a_tensor(tmp_path: Path) -> None:
    model = saved(tmp_path, opset=12)
    result = run(job(images(tmp_path), tmp_path / "m.onnx", model))
    assert result.quantized is not None
    assert result.quantized.scheme.endswith("weights in int8, one scale for every tensor, as opset 12 has it")
    int8 = onnx.load(tmp_path / "m.int8.onnx")
    assert {(entry.domain, entry.version) for entry in int8.opset_import} == {("", 12)}
    scales = [node.input[1] for node in int8.graph.node if node.op_type == "DequantizeLinear"]
    dims = {tensor.name: list(tensor.dims) for tensor in int8.graph.initializer}
    assert all(dims[name] == [] for name in scales)


def old(folder: Path) -> Path:
    return saved(folder, opset=10)


def quantized_already(folder: Path) -> Path:
    onnx.save(quantized(net(SMALL), "QDQ"), folder / "net.onnx")
    return folder / "net.onnx"


@pytest.mark.parametrize(
    ("make", "change", "code", "thing"),
    [
        (
            quantized_already,
            {},
            "unsupported-model",
            "net.onnx is quantized already (see the DequantizeLinear",
        ),
        (old, {}, "unsupported-model", "net.onnx is of opset 10"),
        (saved, {"data": None}, "no-data", "--quantize"),
        (saved, {"dry_run": True}, "conflicting-options", "--dry-run"),
        (saved, {"quantize": "int4"}, "bad-value", "quantize='int4'"),
        (
            saved,
            {"quantize": None, "quantized_output": Path("q.onnx")},
            "missing-option",
            "--quantized",
        ),
        (saved, {"quantized_output": Path("net.onnx")}, "would-overwrite", "quantized model"),
        (saved, {"quantized_output": Path("m.onnx")}, "would-overwrite", "m.onnx"),
    ],
)
def test_what_cannot_be_quantized_is_refused_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Path],
    change: dict[str, Any],
    code: Code,
    thing: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    data = images(tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr("onnxprune.pipeline.opening.open_samples", lambda *_: pytest.fail("the data were opened"))
    with refused(code, thing):
        run(
            job(data, **{"output": Path("m.onnx"), "model": Path("net.onnx"), **change})
            if "data" not in change
            else job(None, Path("m.onnx"), Path("net.onnx"))
        )
    assert contents(tmp_path) == before


def test_a_model_above_two_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizing, "PROTOBUF_LIMIT", 1000)
    with refused("model-too-large", "net.onnx", "2 GB"):
        run(job(images(tmp_path), tmp_path / "m.onnx", saved(tmp_path)))


def test_what_the_quantizer_cannot_do_is_found_out_before_any_work(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no way\nat all")

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", fails)
    monkeypatch.setattr(
        "onnxprune.pipeline.planning.steps.gather", lambda *_, **__: pytest.fail("statistics were taken")
    )
    with pytest.raises(UnreachableError) as caught:
        run(job(few, tmp_path / "m.onnx"))
    assert str(caught.value) == f"onnxruntime cannot quantize '{CONVNET}' (no way); leave out --quantize."
    assert not names(tmp_path)


def test_a_model_without_anything_to_quantize_is_one_sentence(tmp_path: Path) -> None:
    model = saved(tmp_path, "(float[N, 4] x) => (float[N, 4] y) { y = Sin(x) }")
    with refused("not-quantizable", "'it'", "--quantize"):
        quantize_int8(model, iter([{"x": np.zeros((1, 4), np.float32)}]), "it")


def test_a_result_that_does_not_run_is_none(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> onnx.ModelProto:
        found = quantize_int8(*args)
        del found.graph.initializer[0]
        return found

    monkeypatch.setattr(quantizing, "quantize_int8", broken)
    with refused("not-quantizable", "digits_convnet.onnx", "not valid ONNX"):
        run(job(few, tmp_path / "m.onnx"))
    assert not names(tmp_path)


def test_a_quantization_that_fails_at_the_end_costs_nobody_the_pruned_model(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def fails_later(path: Path, feeds: Any, name: str, scratch: Path | None) -> onnx.ModelProto:
        names.append(name)
        if len(names) == 2:
            raise UnreachableError("It fails now.", "not-quantizable")
        return quantize_int8(path, feeds, name, scratch)

    monkeypatch.setattr(quantizing, "quantize_int8", fails_later)
    result = run(job(few, tmp_path / "m.onnx"))
    assert names == [str(CONVNET), "the pruned model"]
    assert (result.failure, result.quantized, result.quantized_output) == ("It fails now.", None, None)
    assert "It fails now." in result.warnings
    assert set(contents(tmp_path)) == {"m.onnx", "m.plan.json"}


def test_the_log_is_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import logging

    before = list(logging.root.handlers), logging.root.manager.disable
    quantize_int8(saved(tmp_path), iter([{"x": np.zeros((1, 1, 8, 8), np.float32)}]), "it")
    assert (list(logging.root.handlers), logging.root.manager.disable) == before
    assert capfd.readouterr() == ("", "")
