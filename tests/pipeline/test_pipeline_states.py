"""A streaming network whose state is cut at both ends: every stage of a run takes the data of the original."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import net, run

import onnxprune

STREAMING = """(float[n, 6, 12] x, float[n, 24, 2] cache) => (float[n, 4] y, float[n, 24, 2] kept)
    <float[24, 6, 3] w0, float[24] b0, float[16, 24, 3] w1, float[4, 16] w2,
     int64[1] starts = {10}, int64[1] ends = {12}, int64[1] axes = {2}>
    {
        f = Conv(x, w0, b0)
        a = Relu(f)
        long = Concat<axis = 2>(cache, a)
        g = Conv(long, w1)
        r = Relu(g)
        p = GlobalAveragePool(r)
        v = Flatten(p)
        y = Gemm<transB = 1>(v, w2)
        kept = Slice(long, starts, ends, axes)
    }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(net(STREAMING), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 6, 12)).astype(np.float32)
    cache = np.abs(rng.standard_normal((80, 24, 2))).astype(np.float32)
    labels = run(net(STREAMING), {"x": x, "cache": cache})[0].argmax(axis=1)
    np.savez(tmp_path / "data.npz", x=x, cache=cache, y=labels)
    return tmp_path / "data.npz"


def widths(path: Path) -> dict[str, int]:
    graph = onnx.load(path).graph
    return {v.name: v.type.tensor_type.shape.dim[1].dim_value for v in (*graph.input, *graph.output)}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"recovery": "refit"},
        {"recovery": "match"},
        {"method": "taylor"},
        {"method": "fisher", "recovery": "fold"},
        {"quantize": "int8"},
        {"finetune": 1},
        {"steps": 2},
    ],
    ids=["plain", "refit", "match", "taylor", "fisher", "int8", "finetune", "steps"],
)
def test_every_stage_takes_the_states_of_the_original(
    model: Path, data: Path, tmp_path: Path, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxprune.finetune.matching.STEPS", 40)
    monkeypatch.setattr("onnxprune.finetune.matching.RATES", (2e-4,))
    monkeypatch.setattr("onnxprune.finetune.matching.FIRST", 0)
    options = {"data": data, "macs": 0.5, "allow": "interface", "round_to": 1, "force": True, "keep": ["g"], **more}
    result = onnxprune.prune(model, output=tmp_path / "small.onnx", **options)
    left = widths(tmp_path / "small.onnx")
    assert left["cache"] == left["kept"] < 24
    assert left["x"] == 6
    assert result.quality is not None
    assert set(result.quality.drift or ()) <= {"y", "kept"}
    assert (result.quantized is not None) == ("quantize" in more)
    assert any("States have fewer channels" in note for note in result.notes)
