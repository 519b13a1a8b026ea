"""Put every test case that onnx has for a single node between a layer and a weighted sum, and check each cut.

    python benchmarks/node_cases.py [--only PATTERN]

onnx describes its ops by some 1,900 small cases, each with inputs. Here every float input (or the first alone) is made
by a MatMul along one of its axes, the others are constants or graph inputs, and every output is multiplied by random
weights and summed up over all axes. What can be cut then must equal its mask, with and without `--allow approximate`.

Printed are the failures and how the cases ended. Where onnxruntime itself is unsure (its two optimisation levels
disagree, a result is not finite) nothing can be said. Exit code 1 on a failure.
"""

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from nets import analysed, assert_cut_equals_mask, group_sizes, random_keep, run  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.backend.test.case.node import collect_testcases  # noqa: E402

from onnxprune.surgery.mask import masked_model  # noqa: E402

LARGEST = 20_000
NEWEST_OPSET = 26
UNSURE = 1e-4
WIDTH = 5
Feeds = dict[str, Any]


def wrapped(case: Any, axis: int, *, live: bool, first_only: bool) -> tuple[onnx.ModelProto, Feeds] | None:
    """Return a case with layers along `axis` around it, and its feeds; None where no input has such an axis.

    With `live`, inputs that no layer makes are graph inputs, else constants.
    """
    inputs, outputs = case.data_sets[0]
    if any(isinstance(value, np.ndarray) and value.size > LARGEST for value in (*inputs, *outputs)):
        return None
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for entry in model.opset_import:
        entry.version = min(entry.version, NEWEST_OPSET) if not entry.domain else entry.version
    graph, feeds = model.graph, Feeds()
    nodes = list(graph.node)
    given, wanted = list(graph.input), list(graph.output)
    for field in (graph.node, graph.input, graph.output):
        del field[:]
    rng = np.random.default_rng(0)
    made = 0
    for slot, (info, value) in enumerate(zip(given, inputs, strict=True)):
        is_array = info.type.HasField("tensor_type") and isinstance(value, np.ndarray)
        wide = is_array and value.dtype == np.float32 and value.ndim > axis and value.shape[axis] > 1
        if wide and not (first_only and slot):
            made += 1
            feeds[f"{info.name}_in"] = _produce(graph, info.name, value.shape, axis, rng)
        elif is_array and not live:
            graph.initializer.append(
                numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), info.name)
            )
        else:
            graph.input.append(info)
            feeds[info.name] = value
    graph.node.extend(nodes)
    for info, value in zip(wanted, outputs, strict=True):
        _consume(graph, info, value, rng)
    return (model, feeds) if made else None


def _produce(
    graph: onnx.GraphProto, name: str, shape: tuple[int, ...], axis: int, rng: np.random.Generator
) -> np.ndarray:
    """Let a MatMul of positive numbers make `name` along `axis`; return what feeds it."""
    order = [place for place in range(len(shape)) if place != axis] + [axis]
    fed = [*(shape[place] for place in order[:-1]), WIDTH]
    graph.input.append(helper.make_tensor_value_info(f"{name}_in", TensorProto.FLOAT, fed))
    weight = rng.uniform(0.05, 0.4, (WIDTH, shape[axis])).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(weight, f"{name}_w"))
    graph.node.append(helper.make_node("MatMul", [f"{name}_in", f"{name}_w"], [f"{name}_made"]))
    back = [order.index(place) for place in range(len(shape))]
    graph.node.append(helper.make_node("Transpose", [f"{name}_made"], [name], perm=back))
    return np.asarray(rng.uniform(0.2, 1.0, fed), dtype=np.float32)


def _consume(graph: onnx.GraphProto, info: onnx.ValueInfoProto, value: Any, rng: np.random.Generator) -> None:
    """Sum an output up over all axes, each number with a weight of its own."""
    kind = info.type.tensor_type.elem_type
    if not info.type.HasField("tensor_type") or kind == TensorProto.STRING or not isinstance(value, np.ndarray):
        graph.output.append(info)
        return
    name = info.name
    graph.initializer.append(
        numpy_helper.from_array(np.asarray(rng.uniform(0.1, 1.0, value.shape), np.float32), f"{name}_factor")
    )
    graph.node.append(helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Mul", [f"{name}_float", f"{name}_factor"], [f"{name}_weighted"]))
    graph.node.append(helper.make_node("ReduceSum", [f"{name}_weighted"], [f"{name}_sum"], keepdims=0))
    graph.output.append(helper.make_tensor_value_info(f"{name}_sum", TensorProto.FLOAT, []))


def outcome(model: onnx.ModelProto, feeds: Feeds, *, approximate: bool) -> str:
    """Cut half of everything and say how that went; what fails raises."""
    if all(size < 2 for size in group_sizes(model, approximate=approximate)):
        return "frozen"
    try:
        plain, unoptimised = run(model, feeds), run(model, feeds, optimised=False)
    except (RuntimeError, *_REFUSALS):
        return "not run by onnxruntime"
    for a, b in zip(plain, unoptimised, strict=True):
        if not np.isfinite(a).all() or not np.allclose(a, b, rtol=UNSURE):
            return "onnxruntime is unsure"
    try:
        checked = assert_cut_equals_mask(model, feed=feeds, powerful=False, approximate=approximate)
    except AssertionError:
        analysis = analysed(model, approximate=approximate)
        masked = masked_model(analysis, analysis.axis_masks(random_keep(analysis)))
        if all(np.isfinite(value).all() for value in run(masked, feeds)):
            raise
        return "nothing left for a softmax"
    return "equal" if checked.proven else "equal, without power"


_REFUSALS = tuple(
    getattr(onnxruntime.capi.onnxruntime_pybind11_state, name)
    for name in ("Fail", "InvalidArgument", "InvalidGraph", "NotImplemented", "RuntimeException")
)


def variants(case: Any) -> Iterator[tuple[str, onnx.ModelProto, Feeds, bool]]:
    """Yield every way to put layers around a case, named."""
    for axis in range(4):
        for live in (False, True):
            for first_only in (False, True):
                found = wrapped(case, axis, live=live, first_only=first_only)
                for approximate in (False, True) if found else ():
                    title = f"{case.name} axis={axis} live={live} first_only={first_only} approximate={approximate}"
                    yield title, *found, approximate  # type: ignore[misc]


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that cut equals mask around every single-node test of onnx.")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    ends: Counter[str] = Counter()
    for case in collect_testcases(None):
        if case.model is None or not case.data_sets or options.only not in case.name:
            continue
        for title, model, feeds, approximate in variants(case):
            try:
                end = outcome(model, feeds, approximate=approximate)
            except Exception as error:  # whatever it is, it is what this script looks for
                end = "FAILED"
                print(f"{title}: {type(error).__name__}: {' '.join(str(error).split())[:200]}", flush=True)
            ends[end] += 1
    for end, count in ends.most_common():
        print(f"{count:7} {end}")
    return 1 if ends["FAILED"] or not ends["equal"] else 0


if __name__ == "__main__":
    sys.exit(main())
