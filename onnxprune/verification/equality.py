"""Cut equals mask: the cut network against the original with the removed channels multiplied by zero.

Error = max|cut - mask| / max|mask| over each float output, which has to stay within max(1e-5, 10 x noise), the noise
being the masked network at two optimisation levels of the runtime. The check has power only where masking changes the
outputs by 100 times the tolerance. Where an output says nothing (chaotic or constant), the layers inside are compared,
kept channels against kept channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.analysis.analyse import Analysis
from onnxprune.runtime.session import Session
from onnxprune.surgery.mask import masked_model
from onnxprune.values.axes import Axis, BoolArray, Ref

Status = Literal["equal", "unproven", "different"]
Place = Literal["outputs", "layers", "shaken weights"]
Values = Mapping[str, NDArray[Any]]

BASE_TOLERANCE = 1e-5
NOISE_FACTOR = 10.0
POWER_FACTOR = 100.0
UNCHECKABLE_NOISE = 1e-3


@dataclass(frozen=True)
class Equality:
    """The outcome: relative error, tolerance and power of the worst output, and where it was looked.

    Attributes:
        status: `equal`, `different`, or `unproven` where no tensor could tell.
        error: largest relative difference between cut and mask.
        tolerance: what was allowed there.
        power: largest relative change that masking itself made.
        noise: relative difference of the masked network between two optimisation levels.
        where: the outputs, the layers inside, or either of these with shaken weights.
        tensor: the tensor with the worst error.
    """

    status: Status
    error: float
    tolerance: float
    power: float
    noise: float
    where: Place
    tensor: str

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return dict(vars(self))


@dataclass(frozen=True)
class _Figure:
    tensor: str
    error: float
    noise: float
    power: float

    @property
    def tolerance(self) -> float:
        return max(BASE_TOLERANCE, NOISE_FACTOR * self.noise)


def check_equality(
    analysis: Analysis, cut: onnx.ModelProto, masks: Mapping[Axis, BoolArray], feeds: Sequence[Values]
) -> Equality:
    """Compare `cut` with the masked model on `feeds` (each one call of the model)."""
    masked = masked_model(analysis, masks)
    outputs = [spec.name for spec in analysis.graph.output_specs]
    decided = _decide(_figures(analysis, masked, cut, masks, feeds, outputs), "outputs")
    if decided.status == "equal" or not masks:
        return decided
    inner = _inner_tensors(analysis, cut, masks)
    looser = decided.status == "unproven" or decided.noise > UNCHECKABLE_NOISE
    if not looser or not inner:
        return decided
    return _decide(_figures(analysis, masked, cut, masks, feeds, inner), "layers")


def _decide(figures: Sequence[_Figure], where: Place) -> Equality:
    """Turn figures into a verdict: any checkable difference fails, any checkable power proves."""
    checkable = [figure for figure in figures if figure.noise <= UNCHECKABLE_NOISE]
    worst = max(checkable or figures, key=lambda f: f.error / f.tolerance, default=_Figure("", 0.0, 0.0, 0.0))
    power = max((figure.power for figure in checkable), default=0.0)
    status: Status = "unproven"
    if checkable and worst.error > worst.tolerance:
        status = "different"
    elif any(figure.power >= POWER_FACTOR * figure.tolerance for figure in checkable):
        status = "equal"
    return Equality(status, worst.error, worst.tolerance, power, worst.noise, where, worst.tensor)


def _figures(
    analysis: Analysis,
    masked: onnx.ModelProto,
    cut: onnx.ModelProto,
    masks: Mapping[Axis, BoolArray],
    feeds: Sequence[Values],
    tensors: Sequence[str],
) -> list[_Figure]:
    """Run the four networks and compare `tensors` one by one."""
    runs = {
        "plain": _outputs(analysis.graph.model, feeds, tensors),
        "masked": _outputs(masked, feeds, tensors),
        "rough": _outputs(masked, feeds, tensors, optimize=False),
        "cut": _outputs(cut, feeds, tensors),
    }
    figures = []
    for name in runs["masked"]:
        kept = {axis.dim: mask for axis, mask in masks.items() if axis.ref == Ref(name)}
        values = {run: found[name] for run, found in runs.items()}
        for run in ("plain", "masked", "rough"):
            values[run] = [_kept(value, kept) for value in values[run]]
        if all(value.dtype.kind == "f" for value in values["masked"]):
            figures.append(
                _Figure(
                    name,
                    error=_difference(values["masked"], values["cut"]),
                    noise=_difference(values["masked"], values["rough"]),
                    power=_difference(values["masked"], values["plain"]),
                )
            )
    return figures


def _kept(value: NDArray[Any], kept: Mapping[int, BoolArray]) -> NDArray[Any]:
    for axis, mask in kept.items():
        value = np.compress(mask, value, axis=axis)
    return value


def _difference(reference: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> float:
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


def _outputs(
    model: onnx.ModelProto, feeds: Sequence[Values], tensors: Sequence[str], *, optimize: bool = True
) -> dict[str, list[NDArray[Any]]]:
    """Run `model` on every call in `feeds` and return `tensors`, made outputs where they are not."""
    present = {value.name for value in model.graph.output}
    missing = [name for name in tensors if name not in present]
    if missing:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing)
        model = copy
    session = Session(model.SerializeToString(), optimization="all" if optimize else "none")
    wanted = [spec.name for spec in session.outputs if spec.name in set(tensors) and "(" not in spec.dtype]
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
    for call in feeds:
        for name, value in session.run(call, wanted).items():
            found[name].append(value)
    return found


def _inner_tensors(analysis: Analysis, cut: onnx.ModelProto, masks: Mapping[Axis, BoolArray]) -> list[str]:
    """Return the outputs of the layers that read a masked tensor, as far as both networks have them."""
    readers = {index for axis, index in analysis.labelled.sums if axis in masks}
    remaining = {name for node in cut.graph.node for name in node.output}
    names = [analysis.graph.nodes[index].outputs[0] for index in sorted(readers)]
    return [name for name in names if name in remaining]
