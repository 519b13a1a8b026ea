"""Activations and other functions of one value."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx
import torch
from torch.nn import functional

from onnxprune.finetune.interpreter.ops.site import OPERATORS, Run, Site, Value, operator

_PLAIN: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": functional.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}


def _always(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Site], Run]:
    return lambda _: function


for _name, _function in _PLAIN.items():
    OPERATORS.register(_name)(_always(_function))


@operator("LeakyRelu")
def leaky_relu(site: Site) -> Run:
    """Slope `alpha` below zero."""
    alpha = site.attr("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, alpha)


@operator("PRelu")
def prelu(site: Site) -> Run:
    """A slope that broadcasts; not only one per channel."""
    return lambda x, slope: torch.where(x < 0, x * slope, x)


@operator("Elu")
def elu(site: Site) -> Run:
    """Alpha (e^x - 1) below zero."""
    alpha = site.attr("alpha", 1.0)
    return lambda x: functional.elu(x, alpha)


@operator("Celu")
def celu(site: Site) -> Run:
    """Alpha (e^(x / alpha) - 1) below zero."""
    alpha = site.attr("alpha", 1.0)
    return lambda x: functional.celu(x, alpha)


@operator("Selu")
def selu(site: Site) -> Run:
    """Gamma alpha (e^x - 1) below zero, gamma x above."""
    alpha, gamma = site.attr("alpha", 1.67326319217681884765625), site.attr("gamma", 1.05070102214813232421875)
    return lambda x: gamma * functional.elu(x, alpha)


@operator("ThresholdedRelu")
def thresholded_relu(site: Site) -> Run:
    """Nothing up to `alpha`."""
    alpha = site.attr("alpha", 1.0)
    return lambda x: functional.threshold(x, alpha, 0.0)


@operator("HardSigmoid")
def hard_sigmoid(site: Site) -> Run:
    """Alpha x + beta between 0 and 1."""
    alpha, beta = site.attr("alpha", 0.2), site.attr("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return functional.hardsigmoid
    return lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)


@operator("Gelu")
def gelu(site: Site) -> Run:
    """Exact or by tanh."""
    approximate = site.attr("approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


@operator("Swish")
def swish(site: Site) -> Run:
    """X sigmoid(alpha x)."""
    alpha = site.attr("alpha", 1.0)
    return functional.silu if alpha == 1.0 else lambda x: x * torch.sigmoid(alpha * x)


@operator("Clip")
def clip(site: Site) -> Run:
    """Bounds as attributes (up to opset 10) or inputs."""
    if site.version < 11:
        low, high = site.attr("min"), site.attr("max")
        return lambda x: x if low is None and high is None else torch.clamp(x, low, high)
    bounds = [site.constant(slot) for slot in (1, 2)]
    if all(bound is not None or not site.has(slot) for slot, bound in zip((1, 2), bounds, strict=True)):
        fixed = [None if bound is None else bound.reshape(()).item() for bound in bounds]
        return lambda x, *_: x if fixed == [None, None] else torch.clamp(x, *fixed)

    def run(x: torch.Tensor, low: Value = None, high: Value = None) -> torch.Tensor:
        x = x if low is None else torch.maximum(x, low)
        return x if high is None else torch.minimum(x, high)

    return run


@operator("IsInf")
def is_infinite(site: Site) -> Run:
    """Of either sign, or of one."""
    positive, negative = site.attr("detect_positive", 1), site.attr("detect_negative", 1)
    if positive and negative:
        return torch.isinf
    return torch.isposinf if positive else torch.isneginf


@operator("Dropout")
def dropout(site: Site) -> Run:
    """As the file says: an export for inference drops nothing, and nothing is made to drop here either."""
    drops = site.constant(2)
    if site.has(2) and (drops is None or drops.any()):
        raise site.refusal("a Dropout in its training form (training_mode); export the model for inference")
    if len([name for name in site.node.outputs if name]) > 1:
        return lambda x, *_: (x, torch.ones_like(x, dtype=torch.bool))
    return lambda x, *_: x


@operator("Cast")
def cast(site: Site) -> Run:
    """To any type that torch has."""
    wanted = torch_type(site, site.attr("to"))
    return lambda x: x.to(wanted)


@operator("CastLike")
def cast_like(site: Site) -> Run:
    """To the type of the second input."""
    return lambda x, other: x.to(other.dtype)


def torch_type(site: Site, kind: int) -> torch.dtype:
    """Return torch's name of an ONNX element type.

    Raises:
        UnsupportedError: torch has no such type.
    """
    if kind == onnx.TensorProto.BFLOAT16:
        return torch.bfloat16
    try:
        numpy_type = onnx.helper.tensor_dtype_to_np_dtype(kind)
        return torch.from_numpy(np.zeros(0, numpy_type)).dtype
    except (KeyError, TypeError) as error:
        name = onnx.TensorProto.DataType.Name(kind)
        raise site.refusal(f"torch has no elements of type {name}") from error
