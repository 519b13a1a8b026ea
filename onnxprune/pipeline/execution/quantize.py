"""Quantizing the pruned model, after all else: 8-bit integers by onnxruntime, with the run's own calibration data.

The pruned model stays what it is; the quantized one is written beside it, and what either step did is told apart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from onnxprune.data import Dataset, take
from onnxprune.errors import InputError, OnnxPruneError, UnreachableError
from onnxprune.graph.checking import check_structure
from onnxprune.graph.layers.quantized import layout
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.save import PROTOBUF_LIMIT
from onnxprune.graph.storage.staging import with_metadata
from onnxprune.graph.storage.weights import Weights
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.evaluator import Evaluator
from onnxprune.runtime import LEAST_OPSET, PER_CHANNEL_OPSET, Feeds, Session, open_session, opset, quantize_int8
from onnxprune.surgery.cut import Cut
from onnxprune.values.interface import fitted
from onnxprune.values.quantized import Quantized

INT8 = "int8"

SAMPLES = 256
"""Calibration samples at most that the ranges of activations come from."""


@dataclass(frozen=True, eq=False)
class Int8:
    """A quantized model in its temporary place.

    Attributes:
        session: it, ready to run.
        size: bytes of its file.
        scheme: how it was quantized, in words.
    """

    session: Session
    size: int
    scheme: str


def check_quantizing(config: PruneConfig, model: Model) -> None:
    """Refuse a quantization that cannot be done, before any work.

    Raises:
        InputError: a model that is quantized already, too old or too large.
    """
    if config.quantize is None:
        return
    for node in model.proto.graph.node:
        if layout(node.domain, node.op_type, node.input) is not None:
            made = f"{node.op_type} that makes {', '.join(node.output)}"
            raise InputError(
                f"{model.path} is quantized already (see the {made}); leave out --quantize.", "unsupported-model"
            )
    if opset(model.proto) < LEAST_OPSET:
        raise InputError(
            f"{model.path} is of opset {opset(model.proto)}, and --quantize takes {LEAST_OPSET} or newer; convert it "
            "first, or leave out --quantize.",
            "unsupported-model",
        )
    if model.size >= PROTOBUF_LIMIT:
        raise InputError(
            f"{model.path} has 2 GB or more, which the quantizer cannot take; leave out --quantize.", "model-too-large"
        )


def try_quantizing(run: Run) -> None:
    """Quantize the original on one sample: what the quantizer cannot do fails now, and not when all else is done.

    Raises:
        UnreachableError: it cannot be quantized.
    """
    model, config = run.model, run.config
    session = open_session(model.proto, model.weights, name=str(model.path), prepack=False)
    one = take(run.calibration_samples.calibration, 1, config.seed)
    _quantized(model.path, (model.proto, model.weights), session, one, config)


def quantize(run: Run, cut: Cut, pruned: Session) -> tuple[Int8 | None, str]:
    """Quantize a staged model where that is asked for, and put the result among the files that are to be written.

    Returns:
        The quantized model, or why it failed: the pruned model is none the worse for that.

    Raises:
        InputError: the file cannot be written.
    """
    config, target = run.config, run.config.quantized_written
    if target is None or run.samples is None:
        return None, ""
    run.working("Quantizing")
    some = take(run.samples.calibration, SAMPLES, config.seed)
    staged = run.staging.folder(config.written) / config.written.name
    try:
        proto = _quantized(staged, (cut.model, cut.weights), pruned, some, config, staged.parent)
    except UnreachableError as error:
        return None, str(error)
    scales = "channel" if opset(cut.model) >= PER_CHANNEL_OPSET else f"tensor, as opset {opset(cut.model)} has it"
    scheme = f"activations in uint8, ranges from {len(some)} samples; weights in int8, one scale for every {scales}"
    del proto.metadata_props[:]
    proto.metadata_props.extend(cut.model.metadata_props)
    content = with_metadata(proto, {"onnxprune.quantized": scheme}).SerializeToString()
    run.staging.write(target, content)
    session = open_session(proto, name="the quantized model", threads=config.threads)
    return Int8(session, len(content), scheme), ""


def measured_int8(
    found: Int8, evaluator: Evaluator, pruned: Session, latency: Mapping[str, float], confidence: float | None
) -> Quantized:
    """Measure a quantized model against the original, with bounds at a confidence, and against the pruned one."""
    against_original = evaluator.quality(found.session, confidence=confidence)
    against_pruned = evaluator.quality(found.session, than=pruned)
    return Quantized(found.scheme, found.size, latency.get("quantized"), against_original, against_pruned)


def _quantized(
    path: Path,
    model: tuple[onnx.ModelProto, Weights],
    session: Session,
    data: Dataset,
    config: PruneConfig,
    scratch: Path | None = None,
) -> onnx.ModelProto:
    """Quantize the model in a file, and make sure that the result is one that runs.

    Args:
        path: of the file.
        model: the same, as it was read.
        session: the same, ready to run.
        data: what the ranges come from.
        config: of the run.
        scratch: where temporary files are made; None: where the system has such.

    Raises:
        UnreachableError: it cannot be quantized.
    """
    found = quantize_int8(path, _feeds(session, data, config.batch_size), session.name, scratch)
    try:
        check_structure(found, model[0], original_weights=model[1])
        open_session(found, name="the quantized model").run(next(_feeds(session, data, 1)))
    except OnnxPruneError as error:
        reason = str(error).rstrip(".")
        raise UnreachableError(
            f"What onnxruntime makes of '{session.name}' cannot be used ({reason}); leave out --quantize.",
            "not-quantizable",
        ) from error
    return found


def _feeds(session: Session, data: Dataset, batch_size: int) -> Iterator[Feeds]:
    """Yield what a model is called with, as many samples at a time as it takes."""
    for batch in data.batches(batch_size):
        for chunk in session.chunks(batch.feeds):
            yield fitted(chunk.feeds, session.interface)
