"""Ops that make tensors from a size alone: filled with one number, or with random ones."""

from collections.abc import Iterator

from onnxprune.ops.facts import Count, Cycle, Fact, Free, Freeze
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView


@rule("ConstantOfShape")
def constant_of_shape(node: NodeView) -> Iterator[Fact]:
    """Any axis may lose positions whose size is a number known before the model runs: that number is a count."""
    sizes, y = node.input(0), node.output
    for axis, size in enumerate(sizes.elements()):
        if size is None:
            yield Freeze(y.axis(axis), "is as wide as a number computed at run time")
        else:
            yield Count(0, axis, y.axis(axis))
            yield Free(y.axis(axis))


@rule("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")
def random(node: NodeView) -> Iterator[Fact]:
    """Another width would draw other random numbers, so nothing can be cut."""
    for operand in node:
        yield from (Freeze(operand.axis(axis), "gets random numbers") for axis in range(operand.rank))


@rule("Range")
def numbers(node: NodeView) -> Iterator[Fact]:
    """Each number says its place, which a cut would move, but for those of channels that unpooling multiplies."""
    channels, y = node.numbered_channels(), node.output
    if channels is None:
        yield from table(node)
    else:
        yield from (Cycle(y.axis(0), channels), Free(y.axis(0)))


@rule("EyeLike", "BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix")
def table(node: NodeView) -> Iterator[Fact]:
    """Each number says its place, which a cut would move."""
    for operand in node:
        yield from (Freeze(operand.axis(axis), "is numbered by its places") for axis in range(operand.rank))
