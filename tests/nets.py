"""Small networks written as ONNX text, and the one check that every cut has to pass: cut equals mask.

A tensor that is declared in the text without a value and that no node makes becomes an initializer with seeded random
numbers, so a net needs no weights in its text.
"""

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from onnxprune.analysis.analyse import analyse
from onnxprune.analysis.analysis import Analysis
from onnxprune.graph.layers.quantized import layout
from onnxprune.graph.model import read_graph
from onnxprune.surgery.cut import Cut, cut
from onnxprune.surgery.mask import masked_model
from onnxprune.values.axes import Axis, BoolArray
from onnxprune.values.branches import left_out

Array = NDArray[Any]

CLASSIFIER = """(float[n, 3, 8, 8] x) => (float[n, 4] y)
    <float[16, 3, 3, 3] w, float[12, 16, 3, 3] v, float[12] b, float[4, 12] u> {
        c = Conv<pads = [1, 1, 1, 1]>(x, w)
        r = Relu(c)
        d = Conv<pads = [1, 1, 1, 1]>(r, v, b)
        e = Relu(d)
        g = GlobalAveragePool(e)
        f = Flatten(g)
        y = Gemm<transB = 1>(f, u)
    }"""
"""Two convolutions and a classifier of four classes, as `net` takes it."""

# The error always granted, as a share of the largest output; ten times the runtime's own noise where that is more.
TOLERANCE = 1e-5
# How much further than the tolerance the masked network has to be from the whole one, or the check proves nothing.
POWER = 100


def net(
    text: str, *, opset: int = 17, ir: int = 8, domains: Mapping[str, int] | None = None, seed: int = 0
) -> onnx.ModelProto:
    """Parse a graph without its header (`(inputs) => (outputs) <weights> { nodes }`) and give it random weights."""
    imports = ", ".join(f'"{domain}": {version}' for domain, version in {"": opset, **(domains or {})}.items())
    model = onnx.parser.parse_model(f"<ir_version: {ir}, opset_import: [{imports}]> net {text}")
    return with_weights(model, seed)


def with_weights(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """Turn every declared tensor that nothing makes into an initializer with random numbers."""
    graph = model.graph
    made = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
    positive = {node.input[4] for node in graph.node if node.op_type == "BatchNormalization"}
    parts = quantized_parts(model)
    for info in list(graph.value_info):
        if info.name in made:
            continue
        graph.value_info.remove(info)
        kind = info.type.tensor_type
        shape = [dim.dim_value for dim in kind.shape.dim]
        values = weights(info.name, shape, positive=info.name in positive, seed=seed)
        if info.name in parts:
            values = quantized_weights(info.name, shape, kind.elem_type, parts[info.name], seed=seed)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        graph.initializer.append(onnx.numpy_helper.from_array(values.astype(dtype), info.name))
    return model


def save_samples(path: Path, *shape: int) -> Path:
    """Write a data file of random samples."""
    np.savez(path, x=np.random.default_rng(0).normal(size=shape).astype(np.float32))
    return path


def initial(model: onnx.ModelProto, name: str) -> Array:
    """Return the value of an initializer."""
    return np.asarray(next(onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name))


def kept(size: int, *removed: int) -> BoolArray:
    """Return a mask without some places."""
    mask = np.ones(size, dtype=bool)
    mask[list(removed)] = False
    return mask


def weights(name: str, shape: list[int], *, positive: bool = False, seed: int = 0) -> Array:
    """Return random numbers that depend on the name alone, scaled by the number of inputs of a filter."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if positive:
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) < 2:
        return np.asarray(rng.normal(0.5, 0.5, shape))
    return np.asarray(rng.normal(0.0, 1.0, shape) / math.sqrt(max(1, math.prod(shape[1:]))))


def quantized_parts(model: onnx.ModelProto) -> dict[str, str]:
    """Return what each operand of a quantized op is: data, a scale or a zero point."""
    found = {}
    for node in model.graph.node:
        about = layout(node.domain, node.op_type, node.input)
        for data in (*about.data, about.result) if about else ():
            for slot, part in ((data.slot, "data"), (data.scale, "scale"), (data.zero, "zero")):
                if slot >= 0:
                    found[node.input[slot]] = part
    return found


def quantized_weights(name: str, shape: list[int], kind: int, part: str, *, seed: int = 0) -> Array:
    """Return random integers all over the range of their type, zero points near its middle, or small scales.

    int8 has 7 bits: with 8, sums overflow on processors without VNNI.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if part == "scale":
        return rng.uniform(0.005, 0.015, shape)
    if kind == onnx.TensorProto.FLOAT or "FLOAT8" in onnx.TensorProto.DataType.Name(kind):
        return weights(name, shape, seed=seed)
    unsigned = kind in (onnx.TensorProto.UINT8, onnx.TensorProto.UINT4)
    half = 8 if kind in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4) else 128
    spread = half // 8 if part == "zero" else half if kind != onnx.TensorProto.INT32 else 2000
    if kind == onnx.TensorProto.INT8:
        spread //= 2
    return rng.integers(-spread, spread, shape) + (half if unsigned else 0)


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its floats in half precision."""
    floats = onnx.TensorProto.FLOAT
    for tensor in model.graph.initializer:
        if tensor.data_type == floats:
            value = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    for end in (*model.graph.input, *model.graph.output):
        if end.type.tensor_type.elem_type == floats:
            end.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del model.graph.value_info[:]
    return model


def analysed(model: onnx.ModelProto, *, approximate: bool = False) -> Analysis:
    """Analyse a model."""
    return analyse(read_graph(model), approximate=approximate)


def group_sizes(model: onnx.ModelProto, *, approximate: bool = False) -> list[int]:
    """Return the sizes of the groups that can be cut, in ascending order."""
    return sorted(group.size for group in analysed(model, approximate=approximate).prunable)


def frozen_reasons(model: onnx.ModelProto, *, approximate: bool = False) -> dict[str, str]:
    """Return why each frozen group is frozen, by group name."""
    groups = analysed(model, approximate=approximate).groups
    return {group.name: group.frozen for group in groups if group.frozen is not None}


def random_keep(analysis: Analysis, ratio: float = 0.5, seed: int = 0) -> dict[str, BoolArray]:
    """Return random keep masks that remove about `ratio` of every prunable group, never none and never all."""
    keep = {}
    for group in analysis.prunable:
        rng = np.random.default_rng([seed, zlib.crc32(group.name.encode())])
        removed = int(np.clip(round(group.size * ratio), 1, group.size - 1))
        mask = np.ones(group.size, dtype=bool)
        mask[rng.choice(group.size, removed, replace=False)] = False
        keep[group.name] = mask
    return keep


def random_feed(model: onnx.ModelProto, *, free: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, Array]:
    """Return random inputs; a free axis is 2 long where it comes first, else 8, or what `free` says."""
    rng = np.random.default_rng([seed, 1])
    constants = {tensor.name for tensor in model.graph.initializer}
    feed: dict[str, Array] = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        kind = value.type.tensor_type
        shape = [
            dim.dim_value if dim.HasField("dim_value") else (free or {}).get(dim.dim_param, 8 if axis else 2)
            for axis, dim in enumerate(kind.shape.dim)
        ]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype == np.bool_:
            feed[value.name] = np.asarray(rng.random(shape) < 0.5)
        else:
            feed[value.name] = np.asarray(rng.normal(0.0, 1.0, shape) * (1 if dtype.kind == "f" else 5)).astype(dtype)
    return feed


def run(model: onnx.ModelProto, feed: Mapping[str, Array], *, optimised: bool = True) -> list[Array]:
    """Run a model in onnxruntime."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # floats stay floats
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers={"WeightBiasQuantization"},
    )
    return [np.asarray(value) for value in session.run(None, dict(feed))]


def distance(a: Array, b: Array) -> float:
    """Return the largest difference as a share of the largest value of `b`."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    if a.dtype.kind != "f":
        return float(np.mean(a != b))
    assert np.isfinite(a).all()
    assert np.isfinite(b).all()
    scale = max(float(np.abs(b).max(initial=0.0)), 1e-30)
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0)) / scale


@dataclass(frozen=True, eq=False)
class Checked:
    """A cut that passed: the analysis it came from, the keep masks, the result, and whether the masks could be seen."""

    analysis: Analysis
    keep: Mapping[str, BoolArray]
    result: Cut
    proven: bool

    @property
    def model(self) -> Any:
        """The cut model."""
        return self.result.model

    def shape(self, name: str) -> tuple[int, ...]:
        """The dims of an initializer of the cut model."""
        return tuple(self.value(name).shape)

    def value(self, name: str) -> Array:
        """The value of an initializer of the cut model."""
        return initial(self.model, name)

    def node(self, output: str) -> Any:
        """The node of the cut model that makes `output`."""
        return next(node for node in self.model.graph.node if output in node.output)

    def attribute(self, output: str, name: str) -> Any:
        """An attribute of the node that makes `output`."""
        found = next(attribute for attribute in self.node(output).attribute if attribute.name == name)
        return onnx.helper.get_attribute_value(found)


def assert_cut_equals_mask(  # noqa: PLR0913 (every setting has its default)
    model: onnx.ModelProto,
    keep: Mapping[str, BoolArray] | None = None,
    *,
    ratio: float = 0.5,
    seed: int = 0,
    free: Mapping[str, int] | None = None,
    feed: Mapping[str, Array] | None = None,
    powerful: bool = True,
    approximate: bool = False,
    analysis: Analysis | None = None,
    masked_by: Callable[[onnx.ModelProto, Mapping[Axis, BoolArray]], onnx.ModelProto] | None = None,
) -> Checked:
    """Cut `model` and check the result: equal to the masked network, and in every other respect the user's graph.

    `masked_by` makes the masked network, in place of the project.
    """
    before = model.SerializeToString(deterministic=True)
    analysis = analysed(model, approximate=approximate) if analysis is None else analysis
    keep = random_keep(analysis, ratio, seed) if keep is None else keep
    assert keep, "nothing to cut, so nothing to check"
    result = cut(analysis, keep)
    assert model.SerializeToString(deterministic=True) == before, "the cut changed the original model"
    assert_still_the_users_graph(model, result)
    feed = random_feed(model, free=free, seed=seed) if feed is None else feed
    if masked_by is None:
        masked = masked_model(analysis, analysis.axis_masks(keep), left_out(analysis.branches, keep))
    else:
        masked = masked_by(model, result.masks)
    expected, plain, whole = run(masked, feed), run(masked, feed, optimised=False), run(model, feed)
    changed = False
    for slimmed, mask, unoptimised, original in zip(run(result.model, feed), expected, plain, whole, strict=True):
        tolerance = max(TOLERANCE, 10 * distance(unoptimised, mask))
        assert distance(slimmed, mask) <= tolerance
        changed = changed or distance(original, mask) >= POWER * tolerance
    assert changed or not powerful, "the masks change no output, so the check proves nothing"
    return Checked(analysis, keep, result, changed)


def assert_still_the_users_graph(model: onnx.ModelProto, result: Cut) -> None:
    """Check validity, and that whatever the cut had no reason to touch is byte for byte what it was."""
    slim, edits = result.model, result.edits
    fault = _invalid(slim)
    assert fault is None or fault == _invalid(model)
    assert list(slim.graph.output) == list(model.graph.output)
    constants = {tensor.name for tensor in model.graph.initializer}
    assert [v for v in slim.graph.input if v.name not in edits.added and v.name not in constants] == [
        v for v in model.graph.input if v.name not in constants
    ]
    assert list(slim.opset_import) == list(model.opset_import)
    assert list(slim.metadata_props) == list(model.metadata_props)
    header = ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string")
    assert [getattr(slim, name) for name in header] == [getattr(model, name) for name in header]
    assert (slim.graph.name, slim.graph.doc_string) == (model.graph.name, model.graph.doc_string)
    touched = {index for index, _ in (*edits.operands, *edits.attributes, *edits.dropped)} | edits.idle
    originals = {
        tuple(node.output): node.SerializeToString(deterministic=True)
        for index, node in enumerate(model.graph.node)
        if index not in touched and not (node.op_type == "Constant" and node.output[0] in edits.tensors)
    }
    for node in slim.graph.node:
        if tuple(node.output) in originals:
            assert node.SerializeToString(deterministic=True) == originals[tuple(node.output)]
    tensors = {tensor.name: tensor.SerializeToString(deterministic=True) for tensor in model.graph.initializer}
    for tensor in slim.graph.initializer:
        if tensor.name not in edits.tensors and tensor.name not in edits.added:
            assert tensor.SerializeToString(deterministic=True) == tensors[tensor.name]


def _invalid(model: onnx.ModelProto) -> str | None:
    """Return what onnx finds wrong with a model, or None; onnxruntime runs many that the checker refuses."""
    try:
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return str(error)
    return None
