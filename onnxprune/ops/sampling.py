"""Ops that sample a feature map at computed places, channel by channel: regions of interest and grids."""

from collections.abc import Iterator

from onnxprune.ops.facts import Fact, Freeze, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("RoiAlign", "MaxRoiPool")
def roi_align(node: NodeView) -> Iterator[Fact]:
    """Channels pass through; every region gives one result. x [N, C, H, W], rois [R, 4 or 5] -> y [R, C, h, w]."""
    x, rois, y = node.input(0), node.input(1), node.output
    yield Tie(x.axis(1), y.axis(1))
    yield Tie(rois.axis(0), y.axis(0))
    yield Freeze(rois.axis(1), "holds the corners of its regions")
    if (batch := node.optional(2)) is not None:
        yield Tie(batch.axis(0), y.axis(0))
    yield Freeze(x.axis(0), "is picked by batch indices")
    for axis in (2, 3):
        yield Freeze(x.axis(axis), "is sampled at computed places")
        yield Freeze(y.axis(axis), "is the size of its windows")


@rule("GridSample")
def grid_sample(node: NodeView) -> Iterator[Fact]:
    """Batch and channels pass through; a place of the grid gives a place of the result.

    x [N, C, ...], grid [N, ..., 2 or 3] -> y [N, C, ...]
    """
    x, grid, y = node.input(0), node.input(1), node.output
    yield Tie(x.axis(0), y.axis(0))
    yield Tie(x.axis(1), y.axis(1))
    yield Tie(grid.axis(0), y.axis(0))
    for axis in range(2, x.rank):
        yield Freeze(x.axis(axis), "is sampled at computed places")
        yield Tie(grid.axis(axis - 1), y.axis(axis))
    yield Freeze(grid.axis(-1), "holds the coordinates to sample at")


@rule("AffineGrid")
def affine_grid(node: NodeView) -> Iterator[Fact]:
    """The batch passes through; the rest is geometry. theta [N, 2, 3] -> grid [N, H, W, 2] (or [N, 3, 4] and 3-D)."""
    theta, y = node.input(0), node.output
    yield Tie(theta.axis(0), y.axis(0))
    for axis in (1, 2):
        yield Freeze(theta.axis(axis), "holds an affine transformation")
    for axis in range(1, y.rank):
        yield Freeze(y.axis(axis), "is the geometry of a grid")
