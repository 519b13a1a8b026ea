"""The whole job on quantized sample models: the groups of the float model, budgets met, integers still integers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from nets import analysed, group_sizes
from places import CALIB, SAMPLES
from quantized_nets import quantized

import onnxprune
from onnxprune.calibration.collect import collect
from onnxprune.graph.storage.measures import count_params
from onnxprune.values.preprocess import PRESETS

NETS = ("digits_resnet", "digits_convnet")
HOW = ("QDQ", "QOperator", "dynamic")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Every sample model quantized in every way."""
    folder = tmp_path_factory.mktemp("quantized")
    found = {}
    for name in NETS:
        for how in HOW:
            options = {} if how == "dynamic" else {"per_channel": True}
            found[name, how] = folder / f"{name}.{how}.onnx"
            onnx.save(quantized(SAMPLES / f"{name}.onnx", how, **options), found[name, how])
    return found


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", NETS)
def test_groups_and_costs_are_those_of_the_float_model(
    models: dict[tuple[str, str], Path], name: str, how: str
) -> None:
    original, model = onnx.load(SAMPLES / f"{name}.onnx"), onnx.load(models[name, how])
    assert group_sizes(model) == group_sizes(original)
    before, after = analysed(original), analysed(model)
    assert after.macs() == before.macs()
    assert count_params(model) == after.params()
    # Dynamic quantization multiplies each layer by its weights' scale, one number that is a float like any other.
    layers = sum(node.op_type in ("Conv", "Gemm") for node in original.graph.node)
    assert after.params() == before.params() + (layers if how == "dynamic" else 0)


@pytest.mark.parametrize(
    ("name", "method", "budget"),
    [("digits_convnet", "entropy", {"macs": 0.5}), ("digits_resnet", "random", {"ratio": 0.5})],
)
@pytest.mark.parametrize("how", HOW)
def test_budgets_are_met_and_integers_stay(
    models: dict[tuple[str, str], Path], name: str, how: str, method: str, budget: dict[str, Any], tmp_path: Path
) -> None:
    source, target = models[name, how], tmp_path / "pruned.onnx"
    result = onnxprune.prune(source, data=CALIB, method=method, output=target, preprocess="unit", force=True, **budget)
    assert result.equality is not None
    assert (result.equality.status, result.equality.error) == ("equal", 0.0)
    assert target.stat().st_size < source.stat().st_size
    before = {tensor.name: tensor for tensor in onnx.load(source).graph.initializer}
    after = {tensor.name: tensor for tensor in onnx.load(target).graph.initializer}
    narrow = {n for n, t in before.items() if t.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)}
    assert {n for n in narrow if len(before[n].dims) > 1}, "no quantized weights"
    assert all(after[n].data_type == before[n].data_type for n in narrow)
    assert sum(np.prod(after[n].dims) for n in narrow) < 0.9 * sum(np.prod(before[n].dims) for n in narrow)
    session = ort.InferenceSession(target, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": np.zeros((2, 1, 8, 8), dtype=np.float32)})
    assert logits.shape == (2, 10)
    if method == "entropy":
        assert result.plan.reached["macs"] <= 0.5


@pytest.mark.parametrize("how", HOW)
def test_entropy_is_that_of_the_dequantized_values(models: dict[tuple[str, str], Path], how: str) -> None:
    original = onnxprune.load(SAMPLES / "digits_convnet.onnx")
    samples = onnxprune.open_data(CALIB, original.graph.input_specs, PRESETS["unit"])
    found = []
    for path in (SAMPLES / "digits_convnet.onnx", models["digits_convnet", how]):
        analysis = onnxprune.inspect(onnxprune.load(path))
        found.append(collect(analysis, samples, frozenset({"map entropy", "zeros", "mean magnitude"})))
    assert len(found[0].layers) == len(found[1].layers) == 4
    for whole, integers in zip(found[0].layers.values(), found[1].layers.values(), strict=True):
        assert whole.kind == integers.kind
        for statistic, value in whole.values.items():
            assert np.corrcoef(value.ravel(), integers.values[statistic].ravel())[0, 1] > 0.9, statistic
        magnitude = integers.values["mean magnitude"].mean() / whole.values["mean magnitude"].mean()
        assert magnitude == pytest.approx(1.0, abs=0.3)
