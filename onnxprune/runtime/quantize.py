"""onnxruntime's static quantization: from a float model and sample feeds to 8-bit integers.

Why these settings and no others: docs/decisions/0022-int8-settings.md.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime as ort

from onnxprune.errors import UnreachableError
from onnxprune.graph.storage.load import load_model
from onnxprune.graph.storage.weights import is_external, stored_tensors
from onnxprune.runtime.session import Feeds

LEAST_OPSET = 11
"""Below it the quantizer would convert the model to another opset."""

PER_CHANNEL_OPSET = 13
"""From here on QuantizeLinear and DequantizeLinear may have a scale for every channel."""

_WARNING, _FATAL = 2, 4
"""Severities of onnxruntime's log: its default, and the highest."""


class _Reader:
    """Hands feeds to the quantizer, one call after the other: what it takes for a CalibrationDataReader."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        """Read from `feeds`, once."""
        self._feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        """Return the next call's feeds, or None at their end."""
        return next(self._feeds, None)


def quantize_int8(model: Path, feeds: Iterable[Feeds], name: str, scratch: Path | None = None) -> onnx.ModelProto:
    """Return a float model with 8-bit weights and activations, as QuantizeLinear and DequantizeLinear say (QDQ).

    Args:
        model: the .onnx file, under 2 GB with its data files.
        feeds: one call's feeds after the other; activations range from their least to their greatest value on them.
        name: what messages call the model.
        scratch: where temporary files are made; None: where the system has such.

    Raises:
        UnreachableError: the quantizer cannot do it, or finds nothing to quantize.
    """
    # Takes as long to import as all the rest of onnxruntime, so only who quantizes waits for it.
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(dir=scratch, prefix="onnxprune-", ignore_cleanup_errors=True) as folder, _silent():
        prepared, result = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        try:
            # Folds BatchNormalization into convolutions. The symbolic inference would need sympy.
            quant_pre_process(_whole(model, Path(folder)), prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                result,
                _Reader(feeds),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=opset(onnx.load(prepared)) >= PER_CHANNEL_OPSET,
                calibrate_method=CalibrationMethod.MinMax,
            )
            found = onnx.load(result)
        except MemoryError:
            raise
        except Exception as error:  # the quantizer raises whatever comes
            reason = next(iter(str(error).strip().splitlines()), "")[:200].rstrip(" .:") or type(error).__name__
            raise UnreachableError(
                f"onnxruntime cannot quantize '{name}' ({reason}); leave out --quantize.", "not-quantizable"
            ) from error
    if not any(node.op_type == "QuantizeLinear" for node in found.graph.node):
        raise UnreachableError(
            f"onnxruntime finds nothing to quantize in '{name}'; leave out --quantize.", "not-quantizable"
        )
    return _tidy(found)


def _whole(model: Path, folder: Path) -> Path:
    """Return the file of a model that has all its weights in it, as the preparation loses sight of data files."""
    skeleton = onnx.load(model, load_external_data=False)
    if not any(map(is_external, stored_tensors(skeleton))):
        return model
    (folder / "whole.onnx").write_bytes(load_model(model).SerializeToString())
    return folder / "whole.onnx"


def opset(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own ops."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the domains that no node uses, all of which the runtime enters, and what the quantizer noted for itself."""
    used = {node.domain for node in model.graph.node} | {"", "ai.onnx"}
    imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    own = [entry for entry in model.metadata_props if entry.key not in ("onnx.infer", "onnx.quant.pre_process")]
    del model.metadata_props[:]
    model.metadata_props.extend(own)
    return model


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the quantizer's log and warnings off stderr: what matters of them comes as an exception."""
    handlers, disabled = list(logging.root.handlers), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    ort.set_default_logger_severity(_FATAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        ort.set_default_logger_severity(_WARNING)
        logging.root.handlers[:] = handlers
