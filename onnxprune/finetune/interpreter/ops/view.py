"""Ops that move, cut or join values without computing anything."""

import torch
from torch.nn import functional

from onnxprune.finetune.interpreter.ops.elementwise import torch_type
from onnxprune.finetune.interpreter.ops.site import Run, Site, Value, at_axis, operator


@operator("Reshape")
def reshape(site: Site) -> Run:
    """0 keeps a size unless `allowzero`; -1 takes what is left."""
    keep = not site.attr("allowzero", 0)
    read = site.ints(1)
    old = site.attr("shape")

    def run(x: torch.Tensor, shape: Value = None) -> torch.Tensor:
        sizes = list(old) if old is not None else read(shape)
        if keep and 0 in sizes:
            sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


@operator("Flatten")
def flatten(site: Site) -> Run:
    """To two axes."""
    axis = site.attr("axis", 1)

    def run(x: torch.Tensor) -> torch.Tensor:
        rows = 1
        for size in x.shape[: at_axis(axis, x.ndim)]:
            rows *= size
        return x.reshape(rows, -1) if x.numel() else x.reshape(rows, x.numel() // max(1, rows))

    return run


@operator("Transpose")
def transpose(site: Site) -> Run:
    """Reverses the axes where no order is given."""
    order = site.attr("perm")
    if order is None:
        return lambda x: x.permute(tuple(range(x.ndim))[::-1])
    return lambda x: x.permute(order)


@operator("Squeeze")
def squeeze(site: Site) -> Run:
    """Axes of size one, all of them where none are given."""
    given, read = site.attr("axes"), site.ints(1)

    def run(x: torch.Tensor, axes: Value = None) -> torch.Tensor:
        found = given if given is not None else read(axes) if axes is not None else None
        return x.squeeze() if found is None else x.squeeze(tuple(found))

    return run


@operator("Unsqueeze")
def unsqueeze(site: Site) -> Run:
    """Axes are counted in the result."""
    given, read = site.attr("axes"), site.ints(1)

    def run(x: torch.Tensor, axes: Value = None) -> torch.Tensor:
        found = list(given) if given is not None else read(axes)
        for axis in sorted(at_axis(axis, x.ndim + len(found)) for axis in found):
            x = x.unsqueeze(axis)
        return x

    return run


@operator("Expand")
def expand(site: Site) -> Run:
    """Broadcasts both ways."""
    read = site.ints(1)
    return lambda x, shape: _expanded(x, read(shape))


def _expanded(x: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    own = [1] * (len(sizes) - x.ndim) + list(x.shape)
    sizes = [1] * (x.ndim - len(sizes)) + sizes
    return x.expand([old if new == 1 else new for old, new in zip(own, sizes, strict=True)])


@operator("Tile")
def tile(site: Site) -> Run:
    """Repeats along every axis."""
    read = site.ints(1)
    return lambda x, repeats: x.repeat(read(repeats))


@operator("Concat")
def concat(site: Site) -> Run:
    """Along one axis."""
    axis = site.attr("axis")
    return lambda *parts: torch.cat(parts, axis)


@operator("Split")
def split(site: Site) -> Run:
    """Into parts of given sizes, or of one size with a smaller last one."""
    axis, given, read, parts = site.attr("axis", 0), site.attr("split"), site.ints(1), len(site.node.outputs)

    def run(x: torch.Tensor, sizes: Value = None) -> tuple[torch.Tensor, ...]:
        found = list(given) if given is not None else read(sizes) if sizes is not None else None
        if found is None:
            size = -(-x.shape[axis] // parts)
            found = [size] * (parts - 1) + [x.shape[axis] - size * (parts - 1)]
        return torch.split(x, found, axis)

    return run


@operator("Slice")
def cut(site: Site) -> Run:
    """Negative steps are taken by turning the axis around first."""
    old = site.attr("starts"), site.attr("ends"), site.attr("axes")
    readers = [site.ints(slot) for slot in (1, 2, 3, 4)]

    def run(x: torch.Tensor, *inputs: Value) -> torch.Tensor:
        if old[0] is not None:
            starts, ends, axes, steps = list(old[0]), list(old[1]), list(old[2] or []), []
        else:
            values = [*inputs, *[None] * (4 - len(inputs))]
            starts, ends, axes, steps = (
                read(value) if value is not None else [] for read, value in zip(readers, values, strict=True)
            )
        for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
            axis, step = axes[place] if axes else place, steps[place] if steps else 1
            if step < 0:
                size = x.shape[axis]
                begin, stop, step = slice(start, end, step).indices(size)
                x = x.flip(axis)
                start, end, step = size - 1 - begin, size - 1 - stop, -step
                start, end = min(start, size), min(max(end, start), size)
            x = x[(slice(None),) * at_axis(axis, x.ndim) + (slice(start, end, step),)]
        return x

    return run


@operator("Pad")
def pad(site: Site) -> Run:
    """Constant, reflected, repeated at the edge, or wrapped; negative pads crop."""
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[
        site.attr("mode", "constant")
    ]
    old, number = site.attr("pads") or site.attr("paddings"), site.attr("value", 0.0)
    read, read_value, read_axes = site.ints(1), site.floats(2), site.ints(3)

    def run(x: torch.Tensor, pads: Value = None, value: Value = None, axes: Value = None) -> torch.Tensor:
        found = list(old) if old is not None else read(pads)
        chosen = [at_axis(axis, x.ndim) for axis in read_axes(axes)] if axes is not None else list(range(x.ndim))
        both = {axis: (found[i], found[i + len(chosen)]) for i, axis in enumerate(chosen)}
        if mode == "constant":
            fill = number if value is None else read_value(value)[0]
            return functional.pad(
                x, [n for axis in reversed(range(x.ndim)) for n in both.get(axis, (0, 0))], value=fill
            )
        # torch mirrors at most the last three axes behind two others: one axis at a time suits every rank
        for axis, (before, after) in both.items():
            if before or after:
                lines = x.movedim(axis, -1)
                padded = functional.pad(lines.reshape(1, -1, lines.shape[-1]), (before, after), mode=mode)
                x = padded.reshape(*lines.shape[:-1], -1).movedim(-1, axis)
        return x

    return run


@operator("Shape")
def shape(site: Site) -> Run:
    """The sizes of all or some axes; always in host memory."""
    start, end = site.attr("start", 0), site.attr("end")
    return lambda x: torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64)


@operator("Size")
def size(site: Site) -> Run:
    """The number of elements; always in host memory."""
    return lambda x: torch.tensor(x.numel(), dtype=torch.int64)


@operator("ConstantOfShape")
def constant_of_shape(site: Site) -> Run:
    """One value everywhere."""
    tensor, read = site.attr("value"), site.ints(0)
    if tensor is None:
        return lambda sizes: torch.zeros(read(sizes))
    kind = torch_type(site, tensor.data_type)
    number = _first(tensor)
    return lambda sizes: torch.full(read(sizes), number, dtype=kind)


def _first(tensor: object) -> float:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor).reshape(()).item()  # type: ignore[arg-type,no-any-return]


@operator("Range")
def span(site: Site) -> Run:
    """From a start up to a limit."""

    def run(start: torch.Tensor, limit: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype, device=start.device)

    return run


@operator("DepthToSpace")
def depth_to_space(site: Site) -> Run:
    """Channels become positions, in either order."""
    block, columns_first = site.attr("blocksize"), site.attr("mode", "DCR") == "DCR"

    def run(x: torch.Tensor) -> torch.Tensor:
        if not columns_first:
            return functional.pixel_shuffle(x, block)
        n, c, h, w = x.shape
        parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, c // block**2, h * block, w * block)

    return run


@operator("SpaceToDepth")
def space_to_depth(site: Site) -> Run:
    """Positions become channels, in either order."""
    block = site.attr("blocksize")
    order = (0, 3, 5, 1, 2, 4) if site.attr("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)

    def run(x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // block, block, w // block, block).permute(order)
        return parts.reshape(n, c * block**2, h // block, w // block)

    return run
