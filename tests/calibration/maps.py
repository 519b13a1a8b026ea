"""Random samples for a net, and its whole feature maps to compare statistics with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from nets import Array

from onnxprune.analysis.analysis import Analysis
from onnxprune.data import Dataset, open_data
from onnxprune.values.preprocess import Preprocess

CONVNET = """(float[n, 3, 8, 8] x) => (float[n, 5] y)
    <float[8, 3, 3, 3] w0, float[8] s, float[8] b, float[8] m, float[8] v, float[6, 8, 1, 1] w1, float[6] b1,
     float[10, 6] w2, float[10] b2, float[5, 10] w3, float[5] b3> {
        c0 = Conv<pads = [1, 1, 1, 1]>(x, w0)
        n0 = BatchNormalization(c0, s, b, m, v)
        r0 = Relu(n0)
        c1 = Conv(r0, w1, b1)
        r1 = LeakyRelu<alpha = 0.3>(c1)
        p = GlobalAveragePool(r1)
        f = Flatten(p)
        h = Gemm<transB = 1>(f, w2, b2)
        hr = Relu(h)
        y = Gemm<transB = 1>(hr, w3, b3)
    }"""


def dataset(folder: Path, analysis: Analysis, count: int, labels: Any = None, *, scale: float = 1.0) -> Dataset:
    rng = np.random.default_rng(5)
    arrays: dict[str, Any] = {}
    for spec in analysis.graph.input_specs:
        shape = [count, *(8 if size is None else size for size in spec.shape[1:])]
        arrays["x"] = (scale * rng.normal(0.0, 1.0, shape)).astype(spec.dtype)
    if labels is not None:
        arrays["y"] = np.asarray(labels)
        arrays["class_names"] = np.array([f"class {i}" for i in range(5)])
    np.savez(folder / "d.npz", **arrays)
    return open_data(folder / "d.npz", analysis.graph.input_specs, Preprocess(), classes=5)


def full_maps(analysis: Analysis, data: Dataset, tensors: Sequence[str], size: int = 16) -> dict[str, Array]:
    """Run the model itself and return whole tensors."""
    copy = onnx.ModelProto()
    copy.CopyFrom(analysis.graph.model)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    session = ort.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run(list(tensors), batch.feeds) for batch in data.batches(size)]
    return {name: np.concatenate([np.asarray(part[i]) for part in found]) for i, name in enumerate(tensors)}
