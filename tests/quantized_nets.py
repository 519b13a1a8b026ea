"""Quantized networks as onnxruntime's own quantizer writes them, and what every cut owes them.

Calibration data are seeded random numbers; nothing is trained, so accuracy means nothing here.
"""

import logging
import math
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from nets import Array, Checked, assert_cut_equals_mask, group_sizes, random_feed
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

from onnxprune.graph.storage.measures import count_params
from onnxprune.values.axes import BoolArray
from onnxprune.values.equality import Equality
from onnxprune.verification.equality import check_equality

FORMATS = {"QDQ": QuantFormat.QDQ, "QOperator": QuantFormat.QOperator}
_NARROW = {
    onnx.TensorProto.INT8,
    onnx.TensorProto.UINT8,
    onnx.TensorProto.INT4,
    onnx.TensorProto.UINT4,
    onnx.TensorProto.FLOAT8E4M3FN,
}


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Four random calls of a model."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._calls = iter([random_feed(model, seed=seed) for seed in range(4)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._calls, None)


def quantized(model: onnx.ModelProto | Path, how: str, **options: Any) -> onnx.ModelProto:
    """Quantize a float model as `how` says: QDQ, QOperator or dynamic; `options` are the quantizer's own.

    Weights get 7 bits where nothing else is said: on processors without VNNI sums of 8 bits overflow.
    """
    options = {"reduce_range": True, **options}
    source = onnx.load(model) if isinstance(model, Path) else model
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends preprocessing, which changes the graph
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start, end = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
            onnx.save(source, start)
            if how == "dynamic":
                quantize_dynamic(start, end, **options)
            else:
                quantize_static(start, end, _Reader(source), quant_format=FORMATS[how], **options)
            return onnx.load(end)
    finally:
        logging.disable(disabled)


def ops(model: onnx.ModelProto) -> set[str]:
    """Return the op types of a model."""
    return {node.op_type for node in model.graph.node}


def equality(checked: Checked, model: onnx.ModelProto, seed: int = 3) -> Equality:
    """Return what verification says of a cut."""
    return check_equality(checked.analysis, checked.model, checked.result.masks, [random_feed(model, seed=seed)])


def assert_cut_like_its_float_original(
    model: onnx.ModelProto, original: onnx.ModelProto, keep: Mapping[str, BoolArray] | None = None, **more: Any
) -> Checked:
    """Check that a quantized model has the groups and weights of its float original, and that its cut is exact."""
    assert group_sizes(model) == group_sizes(original)
    # Kernels for floats and integers differ by a step at times, which would count as noise there; power is asked below.
    checked = assert_cut_equals_mask(model, keep, powerful=False, **more)
    found = equality(checked, model)
    assert (found.status, found.error) == ("equal", 0.0)
    assert_stays_quantized(model, checked)
    return checked


def assert_stays_quantized(model: onnx.ModelProto, checked: Checked) -> None:
    """Check that every tensor of the cut model has the type that it had, and that weights count the same everywhere."""
    before = {tensor.name: tensor for tensor in model.graph.initializer}
    after = {tensor.name: tensor for tensor in checked.model.graph.initializer}
    assert all(tensor.data_type == before[name].data_type for name, tensor in after.items() if name in before)
    narrow = {name for name, tensor in before.items() if tensor.data_type in _NARROW and math.prod(tensor.dims) > 1}
    assert narrow, "the model holds no quantized weights"
    assert narrow <= after.keys(), "quantized weights were replaced"
    assert any(list(after[name].dims) != list(before[name].dims) for name in narrow)
    assert count_params(model) == checked.analysis.params()
    assert count_params(checked.model) == checked.analysis.params(checked.keep)
