"""Reductions."""

from collections.abc import Callable, Mapping

import torch

from onnxprune.finetune.interpreter.ops.site import OPERATORS, Run, Site, Value, at_axis, operator

Reduce = Callable[[torch.Tensor, list[int], bool], torch.Tensor]
"""Reduces axes, which stay with one element each if the last argument says so."""


def _product(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:  # noqa: FBT001 (as torch's own)
    for axis in sorted(axes, reverse=True):
        x = x.prod(dim=axis, keepdim=keep)
    return x


_REDUCTIONS: Mapping[str, Reduce] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
}


def _reduction(function: Reduce) -> Callable[[Site], Run]:
    def build(site: Site) -> Run:
        keep, nothing = bool(site.attr("keepdims", 1)), bool(site.attr("noop_with_empty_axes", 0))
        given, read = list(site.attr("axes") or []), site.ints(1)

        def run(x: torch.Tensor, axes: Value = None) -> torch.Tensor:
            found = given or (read(axes) if axes is not None else [])
            if not found and nothing:
                return x
            # torch adds up whole numbers as int64
            return function(x, [at_axis(axis, x.ndim) for axis in found] or list(range(x.ndim)), keep).to(x.dtype)

        return run

    return build


for _name, _function in _REDUCTIONS.items():
    OPERATORS.register(_name)(_reduction(_function))


def _place(*, largest: bool) -> Callable[[Site], Run]:
    def build(site: Site) -> Run:
        axis, keep, last = site.attr("axis", 0), bool(site.attr("keepdims", 1)), site.attr("select_last_index", 0)

        def run(x: torch.Tensor) -> torch.Tensor:
            x = x.flip(axis) if last else x
            found = x.argmax(axis, keep) if largest else x.argmin(axis, keep)
            return x.shape[axis] - 1 - found if last else found

        return run

    return build


operator("ArgMax")(_place(largest=True))
operator("ArgMin")(_place(largest=False))


@operator("CumSum")
def running_sum(site: Site) -> Run:
    """Along an axis, from either end, with or without the element itself."""
    read, backwards, exclusive = site.ints(1), site.attr("reverse", 0), site.attr("exclusive", 0)

    def run(x: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
        (along,) = read(axis)
        y = x.flip(along) if backwards else x
        total = y.cumsum(along, dtype=y.dtype)
        total = total - y if exclusive else total
        return total.flip(along) if backwards else total

    return run
