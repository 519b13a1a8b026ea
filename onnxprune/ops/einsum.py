"""Einsum: equal letters are equal axes; a letter that the output lacks is summed over."""

from collections.abc import Iterator

from onnxprune.ops.facts import Fact, Macs, Produces, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand, RefusedError
from onnxprune.values.axes import Axis


@rule("Einsum")
def einsum(node: NodeView) -> Iterator[Fact]:
    """Tie all axes of a letter; sum over the letters that vanish. MACs: the product of all letters' sizes.

    A letter that only a constant brings to the output is made there: new channels.
    """
    operands = [operand for operand in node.inputs if operand is not None]
    terms, result = _parse(node.attr("equation", b""), operands, node.output)
    places: dict[str, list[Axis]] = {}
    for operand, term in zip([*operands, node.output], [*terms, result], strict=True):
        for axis, letter in enumerate(term):
            places.setdefault(letter, []).append(operand.axis(axis))
    for letter, axes in places.items():
        for other in axes[1:]:
            yield Tie(axes[0], other)
        if letter not in result:
            yield from (Sums(axis) for axis in axes)
    for letter in result:
        holders = [operand for operand, term in zip(operands, terms, strict=True) if letter in term]
        if all(holder.is_constant for holder in holders) and len(holders) < len(operands):
            yield Produces(node.output.axis(result.index(letter)))
    yield Macs(1.0, tuple(_dearest(axes) for axes in places.values()))


def _dearest(axes: list[Axis]) -> Axis:
    """Return the axis to count a letter by: a constant's, whose labels the cost of a layer follows."""
    return next((axis for axis in axes if axis.ref.is_use), axes[0])


def _parse(equation: bytes | str, operands: list[Operand], output: Operand) -> tuple[list[str], str]:
    """Return the letters of every operand and of the output."""
    text = (equation.decode() if isinstance(equation, bytes) else equation).replace(" ", "")
    left, arrow, result = text.partition("->")
    terms = left.split(",")
    if "." in text:
        raise RefusedError("its equation has an ellipsis")
    if not arrow:
        letters = "".join(terms)
        result = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    for operand, term in zip([*operands, output], [*terms, result], strict=True):
        if len(set(term)) != len(term) or len(term) != operand.rank:
            raise RefusedError("its equation repeats a letter within one operand")
    return terms, result
