"""One loaded model in onnxruntime: its inputs and outputs, and running it on any number of samples.

The only place (with its siblings in this package) that imports onnxruntime.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from onnxprune.errors import InputError
from onnxprune.graph.storage.metadata import interface_left
from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights
from onnxprune.runtime.custom_ops import register
from onnxprune.runtime.failures import FAILURES
from onnxprune.values.interface import TensorSpec, fitted

Optimization = Literal["none", "basic", "extended", "all"]
Feeds = Mapping[str, NDArray[Any]]

if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":  # told in time, unless somebody else imported it before
    ort.disable_telemetry_events()

_LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_DTYPES = {"float": "float32", "double": "float64", "string": "str"}
_FATAL_ONLY = 4
_REFUSED = re.compile(r"(\[ONNXRuntimeError\] : \d+ : \w+ : )?SystemError : \d+")
_NO_PREPACKING = "session.disable_prepacking"
_DATA_FOLDER = "session.model_external_initializers_file_folder_path"


class Session:
    """A model ready to run.

    Attributes:
        name: What messages call the model.
        threads: within a kernel; None: the runtime's choice.
        inputs: The graph's inputs, in order.
        outputs: The graph's outputs, in order. A dtype such as `seq(tensor(float))` marks a non-tensor.
        interface: What a cut left of inputs and outputs; feeds of the original's widths are taken too.
        chunk_size: The number of samples that one call takes, None for any number; see `chunks`.
    """

    def __init__(  # noqa: PLR0913 (every setting has its default)
        self,
        model: bytes | Path,
        *,
        folder: Path | None = None,
        name: str | None = None,
        optimization: Optimization = "all",
        prepack: bool = True,
        threads: int | None = None,
        may_quantize: bool = True,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        """Load a model.

        Args:
            model: A serialised ModelProto, or a path.
            folder: Where a serialised model's data files lie; they are mapped, not copied.
            name: What messages call the model; default: the path, or "the model".
            optimization: How much the runtime may rewrite the graph.
            prepack: Whether it rearranges constants for its kernels at once, which pays where it runs many times.
            threads: Threads within one operator; None leaves it to the runtime.
            may_quantize: Whether the runtime may round floats to integers where the graph does not say so. It does that
                to activations in front of quantized weights, and to weights behind quantized activations; the scales
                that it takes depend on the width of the layer.
            providers: onnxruntime's execution providers, in order of preference.

        Raises:
            InputError: onnxruntime cannot load the model.
        """
        self.threads = threads
        self.name = name or (str(model) if isinstance(model, Path) else "the model")
        options = ort.SessionOptions()
        options.graph_optimization_level = _LEVELS[optimization]
        options.log_severity_level = _FATAL_ONLY
        if not prepack:
            options.add_session_config_entry(_NO_PREPACKING, "1")
        if folder is not None:
            options.add_session_config_entry(_DATA_FOLDER, str(folder.absolute()))
        if threads is not None:
            options.intra_op_num_threads = threads
        disabled = set() if may_quantize else {"WeightBiasQuantization"}
        if not may_quantize:
            options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        register(options)
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = ort.InferenceSession(
                source, options, providers=list(providers), disabled_optimizers=disabled
            )
        except FAILURES as error:
            told = f"onnxruntime cannot load '{self.name}' ({_reason(error)})"
            if _REFUSED.match(str(error)):  # it is the system that did not open a file
                raise InputError(f"{told}: check that its files can be read.", "unreadable-file") from error
            raise InputError(f"{told}: {_advice(str(error))}", "not-runnable") from error
        self.inputs = tuple(_spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(node) for node in self._session.get_outputs())
        self.interface = interface_left(self._session.get_modelmeta().custom_metadata_map)
        self.chunk_size = _chunk_size(self.inputs, self.outputs)
        self._tensors = tuple(spec.name for spec in self.outputs if "(" not in spec.dtype)

    def run(self, feeds: Feeds, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run the model once on exactly these feeds.

        Args:
            feeds: One array per graph input, of its own width or of the original's.
            outputs: Names of the outputs to compute; None means every tensor output.

        Raises:
            InputError: an unknown output, or onnxruntime refuses the feeds or fails.
        """
        names = list(self._tensors if outputs is None else outputs)
        unknown = [name for name in names if name not in self._tensors]
        if unknown:
            raise InputError(
                f"'{self.name}' has no tensor output '{unknown[0]}': choose from {', '.join(self._tensors) or 'none'}",
                "unknown-name",
            )
        try:
            values = self._session.run(
                names, {name: np.asarray(value) for name, value in fitted(feeds, self.interface).items()}
            )
        except FAILURES as error:
            shapes = ", ".join(f"{name} {list(np.shape(value))}" for name, value in feeds.items())
            raise InputError(
                f"onnxruntime cannot run '{self.name}' on inputs of shape {shapes} ({_reason(error)}): "
                "check the size and number of the samples against the model's inputs",
                "not-runnable",
            ) from error
        return dict(zip(names, values, strict=True))

    def run_samples(self, feeds: Feeds, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run n samples, in as many calls as `chunk_size` asks for, and join the outputs along axis 0.

        Axis 0 of every output must be rows of samples: n times the same whole number of rows r, the r rows
        of a sample following each other. Each output returned has n * r rows, in the order of the samples.

        Raises:
            InputError: as `run`; or an output whose axis 0 is not made of samples (a scalar, a sum over the
                batch, a number of detections that changes with the data). Take `chunks` and `run` for those.
        """
        parts: dict[str, list[NDArray[Any]]] = {}
        rows: dict[str, int] = {}
        for chunk in self.chunks(feeds):
            for name, value in self.run(chunk.feeds, outputs).items():
                per_sample = _rows_per_sample(value, chunk.size)
                if per_sample is None or rows.setdefault(name, per_sample) != per_sample:
                    raise InputError(
                        f"output '{name}' of '{self.name}' has shape {list(value.shape)} for {chunk.size} "
                        "sample(s), so its rows cannot be told apart by sample: choose another output",
                        "wrong-outputs",
                    )
                parts.setdefault(name, []).append(value[: chunk.count * per_sample])
        return {name: np.concatenate(values) if len(values) > 1 else values[0] for name, values in parts.items()}

    def chunks(self, feeds: Feeds) -> Iterator["Chunk"]:
        """Cut feeds of n samples (axis 0 of every array) into feeds that suit the model's batch dimension.

        * A free batch dimension: one chunk with everything.
        * A batch dimension fixed at k: chunks of k; the last one is filled up by repeating its last sample.
        * Scalar inputs are the same for every sample. Where the other arrays disagree about n (recurrent
          state whose axis 0 is layers), the feeds are one whole call and count as one sample.
        """
        lengths = {len(value) for value in feeds.values() if np.ndim(value) > 0}
        if len(lengths) != 1:
            yield Chunk(feeds, start=0, count=1, size=1)
            return
        (total,) = lengths
        size = self.chunk_size or total
        if size == total:
            yield Chunk(feeds, start=0, count=total, size=total)
            return
        for start in range(0, total, size):
            rows = np.minimum(np.arange(start, start + size), total - 1)
            part = {name: value[rows] if np.ndim(value) else value for name, value in feeds.items()}
            yield Chunk(part, start=start, count=min(size, total - start), size=size)


def open_session(model: onnx.ModelProto, weights: Weights = NO_WEIGHTS, **options: Any) -> Session:
    """Load a model whose heavy weights are left in their files; `options` are those of `Session`.

    Raises:
        InputError: onnxruntime cannot load the model.
    """
    return Session(model.SerializeToString(), folder=weights.folder, **options)


@dataclass(frozen=True)
class Chunk:
    """Feeds of one call: `size` samples, of which the first `count` are real, from sample `start` on."""

    feeds: Feeds
    start: int
    count: int
    size: int

    def real(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return what of a tensor of the call belongs to real samples, where it is made of rows of samples."""
        return tensor[: len(tensor) // self.size * self.count] if len(tensor) % self.size == 0 else tensor


def _spec(node: Any) -> TensorSpec:
    inner = re.fullmatch(r"tensor\((\w+)\)", node.type)
    dtype = _DTYPES.get(inner.group(1), inner.group(1)) if inner else str(node.type)
    shape = tuple(dim if isinstance(dim, int) and dim >= 0 else None for dim in node.shape)
    return TensorSpec(name=node.name, shape=shape, dtype=dtype)


def _chunk_size(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int | None:
    """The fixed batch of the first input.

    Some exports free the batch of the input while the graph still holds a batch of one: an output whose
    first dimension is fixed gives them away, and one sample at a time is right for them in any case.
    """
    batched = [spec for spec in inputs if spec.shape]
    if not batched:
        return None
    if batched[0].shape[0] is not None:
        return max(1, batched[0].shape[0])
    return 1 if any(spec.shape and spec.shape[0] is not None for spec in outputs) else None


def _rows_per_sample(value: NDArray[Any], samples: int) -> int | None:
    if np.ndim(value) == 0 or len(value) % samples:
        return None
    return len(value) // samples


_ADVICE = {
    "is not a registered function/op": "nothing can be measured or checked without this op; only `inspect` works, "
    "unless the model is exported without it",
    "Could not find an implementation": "it has no kernel for this op and type on this machine; "
    "export the model in float32",
    "two nodes with same node name": "give every node a name of its own, or none",
}


def _advice(message: str) -> str:
    """Return what to do about a model that does not load."""
    known = (advice for symptom, advice in _ADVICE.items() if symptom in message)
    return next(known, "check that the file is a complete and valid ONNX model")


def _reason(error: BaseException) -> str:
    """The first line of onnxruntime's message without its error numbers."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    noise = r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed:)?(This is an invalid model\. )?"
    return re.sub(noise, "", lines[0])[:200].rstrip(" .:")
