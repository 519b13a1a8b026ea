"""Picking and placing by index."""

import torch

from onnxprune.finetune.interpreter.ops.site import Run, Site, Value, at_axis, operator


def _wrapped(index: torch.Tensor, size: int) -> torch.Tensor:
    return torch.where(index < 0, index + size, index).long()


@operator("Gather")
def gather(site: Site) -> Run:
    """Whole slices along one axis."""
    axis, known = site.attr("axis", 0), site.constant(1)
    if known is not None and known.ndim == 0:
        place = int(known)
        return lambda x, _: x.select(axis, place)

    def run(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        along = at_axis(axis, x.ndim)
        found = x.index_select(along, _wrapped(index.reshape(-1), x.shape[along]))
        return found.reshape(*x.shape[:along], *index.shape, *x.shape[along + 1 :])

    return run


@operator("GatherElements")
def gather_elements(site: Site) -> Run:
    """One by one along an axis."""
    axis = site.attr("axis", 0)
    return lambda x, index: torch.gather(x, axis, _wrapped(index, x.shape[axis]))


@operator("GatherND")
def gather_nd(site: Site) -> Run:
    """By tuples of indices."""
    batch = site.attr("batch_dims", 0)

    def run(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        count = index.shape[-1]
        lead = [
            torch.arange(x.shape[axis], device=x.device).reshape(
                [-1 if i == axis else 1 for i in range(index.ndim - 1)]
            )
            for axis in range(batch)
        ]
        parts = [_wrapped(index[..., i], x.shape[batch + i]) for i in range(count)]
        return x[(*lead, *parts)]

    return run


@operator("ScatterND")
def scatter_nd(site: Site) -> Run:
    """Slices put in place, or added, multiplied, or the larger or smaller one kept."""
    how = site.attr("reduction", "none")
    if how not in ("none", "add"):
        raise site.refusal(f"the reduction {how!r} is not computed")

    def run(x: torch.Tensor, index: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        places = tuple(_wrapped(index[..., i], x.shape[i]) for i in range(index.shape[-1]))
        return x.index_put(places, updates.to(x.dtype), accumulate=how == "add")

    return run


@operator("ScatterElements", "Scatter")
def scatter_elements(site: Site) -> Run:
    """One by one along an axis."""
    axis, how = site.attr("axis", 0), site.attr("reduction", "none")
    names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}

    def run(x: torch.Tensor, index: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        places = _wrapped(index, x.shape[axis])
        if how == "none":
            return x.scatter(axis, places, updates)
        return x.scatter_reduce(axis, places, updates, names[how])

    return run


@operator("NonZero")
def non_zero(site: Site) -> Run:
    """The indices, an axis a row."""
    return lambda x: x.nonzero().mT


@operator("TopK")
def top_k(site: Site) -> Run:
    """The largest or smallest along an axis, with their places; of equal ones the first."""
    axis, largest = site.attr("axis", -1), bool(site.attr("largest", 1))
    old, read = site.attr("k"), site.ints(1)

    def run(x: torch.Tensor, count: Value = None) -> tuple[torch.Tensor, torch.Tensor]:
        values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
        wanted = old or read(count)[0]
        return values.narrow(axis, 0, wanted), places.narrow(axis, 0, wanted)

    return run


@operator("OneHot")
def one_hot(site: Site) -> Run:
    """Along a new axis, with given values for off and on."""
    axis, read = site.attr("axis", -1), site.ints(1)

    def run(index: torch.Tensor, depth: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        (size,) = read(depth)
        on = _wrapped(index, size).unsqueeze(axis) == torch.arange(size, device=index.device).reshape(
            [-1 if i == at_axis(axis, index.ndim + 1) else 1 for i in range(index.ndim + 1)]
        )
        return torch.where(on, values[1], values[0])

    return run


@operator("Trilu")
def triangle(site: Site) -> Run:
    """The upper or lower triangle of the last two axes."""
    upper, read = site.attr("upper", 1), site.ints(1)

    def run(x: torch.Tensor, diagonal: Value = None) -> torch.Tensor:
        k = read(diagonal)[0] if diagonal is not None else 0
        return x.triu(k) if upper else x.tril(k)

    return run
