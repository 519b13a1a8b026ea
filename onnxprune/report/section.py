"""What a section of the report on a pruned model is, the registry of all of them, and the report that they make."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnxprune.registry import Registry, kind_complaint
from onnxprune.report.blocks import Block, Lines, filled
from onnxprune.values.results import Result

GROUP = "onnxprune.report_sections"
"""Entry points under which other packages offer their sections: the name of the section = where its `Section` is."""

FEW = 3
"""Frozen groups and worst classes that are shown unless all are asked for."""


@dataclass(frozen=True)
class Detail:
    """How much is shown, and where.

    Attributes:
        whole: every group, class and plan that was tried.
        page: on a page of its own, and not in a terminal.
        beside: what else was written and where: the report itself.
    """

    whole: bool = False
    page: bool = False
    beside: Mapping[str, Path] = field(default_factory=dict)

    @property
    def limit(self) -> int | None:
        """How many entries of a long list are shown; None: all."""
        return None if self.whole else FEW


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        name: what it is called.
        order: sections with lower numbers come first; those of this package are 10 apart.
        blocks: its tables and lines; pure. Blocks without content are left out.
    """

    name: str
    order: int
    blocks: Callable[[Result, Detail], Iterable[Block | None]]


complaint = kind_complaint(Section)
SECTIONS: Registry[Section] = Registry("report section", "onnxprune.report.sections", GROUP, complaint)


def register(section: Section) -> Section:
    """Add a section to the registry."""
    return SECTIONS.register(section.name)(section)


def report_blocks(result: Result, detail: Detail, sections: Mapping[str, Section] | None = None) -> tuple[Block, ...]:
    """Return the blocks of all sections in their order; None: of the registry."""
    known = SECTIONS if sections is None else sections
    ordered = sorted(known.values(), key=lambda section: (section.order, section.name))
    return filled(*(block for section in ordered for block in section.blocks(result, detail)), _broken(known))


def headline(result: Result) -> str:
    """Return what was done to which model."""
    done = "pruned" if result.after is not None else "to be pruned"
    return f"{result.model.name}, {done} by {result.plan.method}"


def _broken(sections: Mapping[str, Section]) -> Lines | None:
    """Name the sections of other packages that cannot be used."""
    if not isinstance(sections, Registry):
        return None
    lines = tuple(f"{name}: {why}" for name, why in sorted(sections.broken.items()))
    return Lines(lines, "Report sections of other packages that cannot be used")
