"""The rows of a layer's linear system: what its weight is multiplied with at some output positions of every sample."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.graph.model import Node, weight_layout_of
from onnxprune.values.axes import IntArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SampledPositions:
    """Sampled output positions of one batch: sample `image` and place `at` [rows, spatial axes] of each row."""

    image: IntArray
    at: IntArray


def sample_rows(shape: tuple[int, ...], channels: int, per_sample: int, rng: np.random.Generator) -> SampledPositions:
    """Draw `per_sample` output positions of every sample of an output of `shape` (all, where there are fewer)."""
    space = [size for axis, size in enumerate(shape) if axis not in (0, channels)]
    total = math.prod(space)
    count = min(per_sample, total)
    if total == count:
        flat = np.tile(np.arange(total), (shape[0], 1))
    else:
        flat = np.argsort(rng.random((shape[0], total)), axis=1)[:, :count]
    image = np.repeat(np.arange(shape[0]), count)
    at = np.stack(np.unravel_index(flat.ravel(), space), axis=1) if space else np.zeros((len(image), 0), dtype=np.int64)
    return SampledPositions(image, at.astype(np.int64))


def picked(tensor: Array, channels: int, rows: SampledPositions) -> Array:
    """Return the channels of `tensor` at `rows`: [rows, channels]."""
    moved = np.moveaxis(tensor, channels, -1)
    return np.asarray(moved[(rows.image, *rows.at.T)])


def patches(node: Node, x: Array, kernel: tuple[int, ...], rows: SampledPositions, out_shape: tuple[int, ...]) -> Array:
    """Return what the weight of a layer sees at `rows`: [rows, groups, inputs of a group].

    The order of the inputs is that of the flattened weight: channels, then taps of the kernel.
    """
    layout = weight_layout_of(node)
    if not layout.convolves:
        return picked(x, x.ndim - 1, rows)[:, None, :]
    taken = _gather(x, _tap_places(node, x.shape[2:], kernel, rows, out_shape), rows)
    return taken.reshape(len(rows.image), layout.groups, -1)


def _tap_places(
    node: Node, space: tuple[int, ...], kernel: tuple[int, ...], rows: SampledPositions, out_shape: tuple[int, ...]
) -> list[tuple[IntArray, NDArray[np.bool_]]]:
    """Return by spatial axis where each tap of the kernel reads for each row, [rows, taps], and whether it does."""
    rank = len(kernel)
    strides = node.attrs.get("strides", [1] * rank)
    dilations = node.attrs.get("dilations", [1] * rank)
    pads = _begin_pads(node, space, kernel, strides, dilations, out_shape)
    places = []
    for axis in range(rank):
        taps = np.arange(kernel[axis]) * dilations[axis]
        if not weight_layout_of(node).transposed:
            place = rows.at[:, axis, None] * strides[axis] + taps - pads[axis]
            valid = np.ones_like(place, dtype=bool)
        else:
            offset = rows.at[:, axis, None] + pads[axis] - taps
            place, valid = offset // strides[axis], offset % strides[axis] == 0
        valid &= (place >= 0) & (place < space[axis])
        places.append((np.where(valid, place, 0), valid))
    return places


def _begin_pads(
    node: Node,
    space: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: list[int],
    dilations: list[int],
    out_shape: tuple[int, ...],
) -> list[int]:
    mode = node.attrs.get("auto_pad", b"NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    rank = len(kernel)
    if mode == "NOTSET" and "output_shape" not in node.attrs:
        return list(node.attrs.get("pads", [0] * 2 * rank))[:rank]
    if mode == "VALID":
        return [0] * rank
    pads, transposed = [], weight_layout_of(node).transposed
    for axis in range(rank):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        small, large = (space[axis], out_shape[axis]) if transposed else (out_shape[axis], space[axis])
        total = (small - 1) * strides[axis] + reach - large
        if transposed:
            total += (node.attrs.get("output_padding") or [0] * rank)[axis]
        total = max(0, total)
        pads.append(total - total // 2 if mode == "SAME_LOWER" else total // 2)
    return pads


def _gather(x: Array, places: list[tuple[IntArray, NDArray[np.bool_]]], rows: SampledPositions) -> Array:
    """Return [rows, channels, taps...], zero outside of the map."""
    rank = len(places)

    def spread(values: Array, axis: int) -> Array:
        return values.reshape(len(values), *(-1 if other == axis else 1 for other in range(rank)))

    index = tuple(spread(place, axis) for axis, (place, _) in enumerate(places))
    valid = np.ones((1,) * (rank + 1), dtype=bool)
    for axis, (_, inside) in enumerate(places):
        valid = valid & spread(inside, axis)
    image = rows.image.reshape(-1, *[1] * rank)
    last = np.moveaxis(x, 1, -1)
    taken = last[(image, *index)] * valid[..., None]
    return np.ascontiguousarray(np.moveaxis(taken, -1, 1))
