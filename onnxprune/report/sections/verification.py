"""The check that the cut network equals the masked one."""

from collections.abc import Iterator, Mapping

from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.equality import Equality, Place
from onnxprune.values.opinion import Opinion
from onnxprune.values.results import Result

_PLACES: Mapping[Place, str] = {
    "outputs": "the outputs",
    "layers": "the layers inside",
    "perturbed weights": "the outputs with perturbed weights",
}


def blocks(result: Result, detail: Detail) -> Iterator[Block | None]:
    """Return what the check found."""
    yield None if result.equality is None else verification_lines(result.equality)
    yield None if result.opinion is None else opinion_lines(result.opinion)


def opinion_lines(found: Opinion) -> Lines:
    """Return what another runtime said."""
    said = f"cut and mask differ by {found.cut:.1e}, the written model in both by {found.written:.1e}"
    blind = "" if found.has_power else "; on these samples masking changes too little for the cut to be told"
    return Lines((f"Second opinion of {found.oracle}: {said}, allowed {found.tolerance:.0e}{blind}.",))


def verification_lines(equality: Equality) -> Lines:
    """Return the error of a check and where it was looked."""
    figures = f"error {equality.error:.1e}, allowed {equality.tolerance:.0e}"
    if equality.dtype:
        steps = f"within {numbers.many(equality.steps, 'step')} of {equality.dtype}" if equality.steps else ""
        figures = steps or f"exact in {equality.dtype}"
    if equality.status == "unproven":
        return Lines((f"Verification: cut equals mask is unproven ({figures}): no tensor told a cut from no cut.",))
    return Lines((f"Verification: cut equals mask: {figures}, checked on {_PLACES[equality.where]}.",))


register(Section("verification", 70, blocks))
