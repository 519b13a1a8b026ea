"""The groups that cannot be cut; those of the model's outputs, which are no news, only where all is shown."""

from collections.abc import Iterator

from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.groups import IN_OUTPUT
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block | None]:
    """Return the frozen groups with their reasons."""
    frozen = [(name, why) for name, why in result.plan.frozen.items() if detail.whole or IN_OUTPUT not in why]
    sizes = {group.name: group.size for group in result.groups if group.frozen}
    shown = frozen[: detail.limit]
    lines = [f"{_with_size(name, sizes.get(name))}: {reason}" for name, reason in shown]
    if len(shown) < len(frozen):
        lines.append(f"and {len(frozen) - len(shown)} more, which -v shows")
    yield Lines(tuple(lines), f"{numbers.many(len(frozen), 'frozen group')}")


def _with_size(name: str, size: int | None) -> str:
    return name if size is None else f"{name} ({numbers.many(size, 'channel')})"


register(Section("frozen", 90, blocks))
