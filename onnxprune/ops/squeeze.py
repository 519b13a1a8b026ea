"""Squeeze and Unsqueeze: axes of size 1 come and go."""

from collections.abc import Iterator

from onnxprune.ops.facts import Fact, Free, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, RefusedError


@rule("Squeeze")
def squeeze(node: NodeView) -> Iterator[Fact]:
    """Tie the axes that stay, in order."""
    x, y = node.input(0), node.output
    axes = node.axes_argument(1, x.rank)
    dropped = {axis for axis in range(x.rank) if x.shape[axis] == 1} if axes is None else set(axes)
    stay = [axis for axis in range(x.rank) if axis not in dropped]
    if len(stay) != y.rank:
        raise RefusedError("which axes it drops depends on the sizes at run time")
    for target, source in enumerate(stay):
        yield Tie(x.axis(source), y.axis(target))
    for axis in sorted(dropped):
        yield Free(x.axis(axis))


@rule("Unsqueeze")
def unsqueeze(node: NodeView) -> Iterator[Fact]:
    """Tie the old axes to their new places."""
    x, y = node.input(0), node.output
    new = set(node.axes_argument(1, y.rank) or ())
    old = [axis for axis in range(y.rank) if axis not in new]
    for source, target in enumerate(old):
        yield Tie(x.axis(source), y.axis(target))
    for axis in sorted(new):
        yield Free(y.axis(axis))
