"""Cut equals mask: the cut network against the original with the removed channels multiplied by zero.

Error = max|cut - mask| / max|mask| over each float output, which has to stay within max(1e-5, 10 x noise), the noise
being the masked network at two optimisation levels of the runtime. The check has power only where masking changes the
outputs by 100 times the tolerance. Where an output says nothing (chaotic or constant), the layers inside are compared,
kept channels against kept channels.

Where something is ranked, chosen or compared, a difference in the last bit can turn what comes after; networks that
differ are compared once more with the masked network's choices in both, and up to 1 % of each may be others.

Half precision has steps too: sums that round to other sides differ by a few of them, and masking has to change ten
times as much.

Quantized tensors are compared step by step. Integer kernels add up exactly, so cut and mask usually agree in every bit.
Where they do not, a float sum in front of a rounding came out on its other side: one step is then allowed, and masking
has to change the tensor by 10 steps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.graph.activation_scales import step_of
from onnxprune.graph.model import Graph
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.weights import NO_WEIGHTS, Weights
from onnxprune.runtime.session import Optimization, open_session
from onnxprune.surgery.mask import masked_model
from onnxprune.values.axes import Axis, BoolArray, Ref
from onnxprune.values.branches import Branch
from onnxprune.values.equality import Equality, Place, Status
from onnxprune.verification.overflow import with_half_weights
from onnxprune.verification.random_ops import with_seeds
from onnxprune.verification.segments import decisions, fed, half_precision, quantized_tensors, segmented

Values = Mapping[str, NDArray[Any]]
Runs = Mapping[str, Mapping[str, list[NDArray[Any]]]]
"""By network and tensor: the values on every feed."""

BASE_TOLERANCE = 1e-5
NOISE_FACTOR = 10.0
POWER_FACTOR = 100.0
UNCHECKABLE_NOISE = 1e-3
FLIPPED = 1e-3
POWER_STEPS = 10.0
HALF_STEPS = 4 * 2.0**-10
"""Steps of half precision, as a share of the largest value, that sums which round to other sides come to."""

TURNED = 1e-2
"""Which share of a ranking or a comparison may come out otherwise, where all that it reads agrees."""
_ONE_STEP = 1.01  # floats of neighbouring integers may differ by a hair more than their scale


@dataclass(frozen=True)
class _Figure:
    """How one tensor compares; `step` is what rounding may come to in the same measure, 0 in single precision.

    `dtype` is the type of integers that stand for it, empty where it is not quantized.
    """

    tensor: str
    error: float
    noise: float
    power: float
    step: float = 0.0
    dtype: str = ""

    @property
    def is_checkable(self) -> bool:
        return bool(self.dtype) or self.noise <= max(UNCHECKABLE_NOISE, self.step)

    @property
    def tolerance(self) -> float:
        noise = 0.0 if self.dtype else NOISE_FACTOR * self.noise
        step = self.step * _ONE_STEP if self.error > BASE_TOLERANCE else 0.0
        return max(BASE_TOLERANCE, noise, step)

    @property
    def has_power(self) -> bool:
        rounded = self.step > 0 and self.error > BASE_TOLERANCE
        return self.power >= (POWER_STEPS if rounded else POWER_FACTOR) * self.tolerance

    @property
    def steps(self) -> int:
        steps = self.error / self.step if self.step else 0.0
        return round(steps) if math.isfinite(steps) else 0


@dataclass(frozen=True, eq=False)
class _Models:
    """The original (behind an opened head: of the classes that stay), the oracle, and the cut with its weights.

    `alone` says that classes are all that goes. Masking then changes nothing, and power means to tell classes apart.
    """

    whole: onnx.ModelProto
    masked: onnx.ModelProto
    cut: StoredModel
    alone: bool = False


def check_equality(
    analysis: Analysis,
    cut: onnx.ModelProto,
    masks: Mapping[Axis, BoolArray],
    feeds: Sequence[Values],
    weights: Weights = NO_WEIGHTS,
    branches: Sequence[Branch] = (),
) -> Equality:
    """Compare `cut`, which refers to `weights`, with the masked model on `feeds` (each one call of the model).

    `branches` are those that were left out.
    """
    masked = masked_model(analysis, masks, branches)
    # Leaving classes out changes no score of the others, or their softmax alone: power has to come from the rest.
    classes = analysis.class_masks(masks)
    whole = masked_model(analysis, classes) if classes else analysis.graph.model
    models = _Models(
        whole,
        masked,
        StoredModel(cut, weights),
        alone=bool(classes) and classes.keys() == masks.keys() and not branches,
    )
    outputs = [spec.name for spec in analysis.graph.output_specs]
    decided = _decide(_figures(analysis, models, masks, feeds, outputs), "outputs")
    if decided.status == "equal" or not (masks or branches):
        return decided
    integers = quantized_tensors(analysis.graph, cut)
    if integers:
        runs = _by_stretch(analysis, models, masks, feeds, integers, [*integers, *outputs])
        return _decide(_compared(analysis, runs, masks, alone=models.alone), "layers")
    inner = _inner_tensors(analysis, cut, masks)
    if inner and (decided.status == "unproven" or decided.noise > UNCHECKABLE_NOISE):
        decided = _decide(_figures(analysis, models, masks, feeds, inner), "layers")
    choices = decisions(analysis.graph, cut) if decided.status == "different" else {}
    if not choices:
        return decided
    made = {name for node in cut.graph.node for name in node.output} - analysis.graph.constant_derived
    deciding = (node for node in analysis.graph.nodes if choices.keys() & set(node.outputs))
    read = [name for node in deciding for name in node.inputs if name in made and not analysis.graph.is_leaf(name)]
    runs = _by_stretch(analysis, models, masks, feeds, choices, [*inner, *read, *choices, *outputs])
    figures = _compared(analysis, runs, masks, alone=models.alone)
    return _decide([*figures, *_turned(runs, masks, choices)], "layers")


def odd_outputs(graph: Graph, feeds: Sequence[Values]) -> list[str]:
    """Return the outputs of the original that hold NaN or infinity."""
    found = _outputs(graph.model, graph.weights, feeds, graph.outputs)
    return [
        name
        for name, values in found.items()
        if any(value.dtype.kind == "f" and not np.isfinite(value).all() for value in values)
    ]


def computes_the_same(
    graph: Graph, other: StoredModel, feeds: Sequence[Values], tensors: Sequence[str], tolerance: float
) -> bool:
    """Whether another model is seen to make the same `tensors`, which both have, and the same outputs.

    They may differ by `tolerance` of the largest value, or by ten times what the runtime's optimisations change; of
    integers that share may be others, and `FLIPPED` of them in any case, as rounding can turn a near tie.
    """
    wanted = [*dict.fromkeys([*tensors, *graph.outputs])]
    plain = _outputs(graph.model, graph.weights, feeds, wanted)
    rough = _outputs(graph.model, graph.weights, feeds, wanted, optimize=False)
    found = _outputs(*other, feeds, wanted)
    for name, values in plain.items():
        if any(value.dtype.kind not in "fiub" for value in values):
            continue
        floats = all(value.dtype.kind == "f" for value in values)
        differ, least = (difference, tolerance) if floats else (share_of_others, max(tolerance, FLIPPED))
        noise = differ(values, rough[name])
        if noise > UNCHECKABLE_NOISE or differ(values, found[name]) > max(least, NOISE_FACTOR * noise):
            return False
    return True


def _decide(figures: Sequence[_Figure], where: Place) -> Equality:
    """Turn figures into a verdict: any checkable difference fails, any checkable power proves."""
    checkable = [figure for figure in figures if figure.is_checkable]
    worst = max(checkable or figures, key=lambda f: f.error / f.tolerance, default=_Figure("", 0.0, 0.0, 0.0))
    power = max((figure.power for figure in checkable), default=0.0)
    status: Status = "unproven"
    if checkable and worst.error > worst.tolerance:
        status = "different"
    elif any(figure.has_power for figure in checkable):
        status = "equal"
    found = (worst.error, worst.tolerance, power, worst.noise, where, worst.tensor, worst.dtype, worst.steps)
    return Equality(status, *found)


def _figures(
    analysis: Analysis,
    models: _Models,
    masks: Mapping[Axis, BoolArray],
    feeds: Sequence[Values],
    tensors: Sequence[str],
) -> list[_Figure]:
    """Run the four networks from end to end and compare `tensors`."""
    weights = analysis.graph.weights
    runs = {
        "plain": _outputs(models.whole, weights, feeds, tensors),
        "masked": _outputs(models.masked, weights, feeds, tensors),
        "rough": _outputs(models.masked, weights, feeds, tensors, optimize=False),
        "cut": _outputs(*models.cut, feeds, tensors),
    }
    return _compared(analysis, runs, masks, alone=models.alone)


def _by_stretch(
    analysis: Analysis,
    models: _Models,
    masks: Mapping[Axis, BoolArray],
    feeds: Sequence[Values],
    integers: Mapping[str, int],
    tensors: Sequence[str],
) -> Runs:
    """Run the four networks with every stretch between two `integers` by itself, fed with those of the masked network.

    A value that was rounded or ranked to the other side would otherwise be handed on and grow from layer to layer.
    """
    weights = analysis.graph.weights
    masked, (cut, cut_weights) = models.masked, models.cut
    found = _outputs(masked, weights, feeds, list(integers))
    whole = [fed(call, {name: found[name][i] for name in found}) for i, call in enumerate(feeds)]
    slim = [
        fed(call, {name: kept_of(found[name][i], masks_of(name, masks)) for name in found})
        for i, call in enumerate(feeds)
    ]
    tensors = list(dict.fromkeys(tensors))
    return {
        "plain": _outputs(segmented(models.whole, integers), weights, whole, tensors),
        "masked": _outputs(segmented(masked, integers), weights, whole, tensors),
        "rough": _outputs(segmented(masked, integers), weights, whole, tensors, optimize=False),
        "cut": _outputs(segmented(cut, integers), cut_weights, slim, tensors),
    }


def _turned(runs: Runs, masks: Mapping[Axis, BoolArray], choices: Mapping[str, int]) -> list[_Figure]:
    """Return a figure for each of the `choices` of which more turned than near ties do."""
    figures = []
    for name in choices.keys() & runs["masked"].keys():
        share = share_of_others([kept_of(v, masks_of(name, masks)) for v in runs["masked"][name]], runs["cut"][name])
        if share > TURNED:
            figures.append(_Figure(name, error=share, noise=0.0, power=0.0))
    return figures


def _compared(
    analysis: Analysis,
    runs: Runs,
    masks: Mapping[Axis, BoolArray],
    *,
    alone: bool,
) -> list[_Figure]:
    """Compare the tensors of the four networks' runs one by one.

    Where classes alone go, the plain network gives its scores in reverse: would other classes have been noticed?
    """
    figures, half = [], half_precision(analysis.graph)
    for name in runs["masked"]:
        kept = masks_of(name, masks)
        values = {run: found[name] for run, found in runs.items()}
        for run in ("plain", "masked", "rough"):
            values[run] = [kept_of(value, kept) for value in values[run]]
        if alone:
            values["plain"] = [np.flip(value, tuple(kept)) for value in values["plain"]]
        step, dtype = step_of(analysis.graph, name) or (0.0, "")
        if dtype or all(value.dtype.kind == "f" for value in values["masked"]):
            largest = max(float(np.abs(value.astype(np.float64)).max(initial=0.0)) for value in values["masked"])
            if not dtype and name in half:
                step = HALF_STEPS * largest
            figures.append(
                _Figure(
                    name,
                    error=difference(values["masked"], values["cut"]),
                    noise=difference(values["masked"], values["rough"]),
                    power=difference(values["masked"], values["plain"]),
                    step=step / largest if largest else 0.0,
                    dtype=dtype,
                )
            )
    return figures


def masks_of(name: str, masks: Mapping[Axis, BoolArray]) -> dict[int, BoolArray]:
    """Return the masks of a tensor by its dimension."""
    return {axis.dim: mask for axis, mask in masks.items() if axis.ref == Ref(name)}


def kept_of(value: NDArray[Any], kept: Mapping[int, BoolArray]) -> NDArray[Any]:
    """Return what masks leave of a value."""
    for axis, mask in kept.items():
        value = np.compress(mask, value, axis=axis)
    return value


def difference(reference: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> float:
    """Return max|other - reference| / max|reference|; infinite where shapes or non-finite values differ."""
    largest, scale = 0.0, 0.0
    for a, b in zip(reference, other, strict=True):
        if a.shape != b.shape:
            return float("inf")
        first, second = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(first)
        if not np.array_equal(finite, np.isfinite(second)):
            return float("inf")
        if finite.any():
            largest = max(largest, float(np.abs(second[finite] - first[finite]).max()))
            scale = max(scale, float(np.abs(first[finite]).max()))
    return largest / scale if scale > 0 else (0.0 if largest == 0 else float("inf"))


def share_of_others(reference: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> float:
    """Return which share of the elements differ; 1 where shapes do."""
    if any(a.shape != b.shape for a, b in zip(reference, other, strict=True)):
        return 1.0
    different = sum(int((a != b).sum()) for a, b in zip(reference, other, strict=True))
    return different / max(1, sum(a.size for a in reference))


def _outputs(
    model: onnx.ModelProto,
    weights: Weights,
    feeds: Sequence[Values],
    tensors: Sequence[str],
    *,
    optimize: bool = True,
) -> dict[str, list[NDArray[Any]]]:
    """Run `model` on every call in `feeds` and return `tensors`, made outputs where they are not."""
    model, weights = with_half_weights(with_seeds(model), weights)
    present = {value.name for value in model.graph.output}
    missing = [name for name in tensors if name not in present]
    if missing:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing)
        model = copy
    level: Optimization = "all" if optimize else "none"
    session = open_session(model, weights, optimization=level, prepack=False, may_quantize=False)
    wanted = [spec.name for spec in session.outputs if spec.name in set(tensors) and "(" not in spec.dtype]
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
    for call in feeds:
        for name, value in session.run(call, wanted).items():
            found[name].append(np.array(value))  # a copy: the runtime's own keeps all memory of the session alive
    return found


def _inner_tensors(analysis: Analysis, cut: onnx.ModelProto, masks: Mapping[Axis, BoolArray]) -> list[str]:
    """Return the outputs of the layers that read a masked tensor, as far as both networks have them."""
    readers = {index for fact, index in analysis.sums if fact.axis in masks}
    remaining = {name for node in cut.graph.node for name in node.output}
    names = [analysis.graph.nodes[index].outputs[0] for index in sorted(readers)]
    return [name for name in names if name in remaining]
