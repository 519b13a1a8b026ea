"""What checking a file came to."""

from onnxprune.report.blocks import Block, Lines
from onnxprune.report.sections.verification import opinion_lines, verification_lines
from onnxprune.values.checked import Checked


def checked_blocks(found: Checked) -> tuple[Block, ...]:
    """Return what was shown of a file."""
    weights = (
        f"{found.changed} of its {found.tensors} tensors have other values than the cut, by recovery or training."
        if found.changed
        else f"All {found.tensors} tensors have the values that the cut leaves."
    )
    opinion = () if found.opinion is None else opinion_lines(found.opinion).lines
    lines = (
        f"{found.model.name} is what {found.plan.name} makes of {found.against.name}.",
        weights,
        *verification_lines(found.equality).lines,
        *opinion,
    )
    return (Lines(lines),)
