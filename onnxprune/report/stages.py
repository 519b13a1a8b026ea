"""What is told while a run goes on: what was found in the model and in the data."""

from collections.abc import Mapping, Sequence

from onnxprune.evaluation import PresetScore
from onnxprune.report import numbers
from onnxprune.report.blocks import Lines, Table
from onnxprune.selection.budget import BUDGETS
from onnxprune.values.accuracy import Accuracy
from onnxprune.values.costs import Kind
from onnxprune.values.groups import ChannelGroup


def groups_line(groups: Sequence[ChannelGroup]) -> str:
    """Say how much of a model can be pruned."""
    free = [group for group in groups if group.prunable]
    channels = numbers.many(sum(group.size for group in free), "prunable channel")
    frozen = sum(group.frozen is not None for group in groups)
    return f"{channels} in {numbers.many(len(free), 'group')}, {numbers.many(frozen, 'group')} frozen"


_COSTS: Mapping[Kind, str] = {limited.kind: limited.words for limited in BUDGETS}


def least_line(left: Mapping[Kind, float]) -> str:
    """Say what no budget can get below, as shares of what there is."""
    shares = [f"{numbers.percent(share)} of the {_COSTS[kind]}" for kind, share in left.items()]
    return f"The least that can be left: {', '.join(shares)}."


def original_line(accuracy: Accuracy) -> str:
    """Say how good the original model is."""
    found = numbers.percent(accuracy.top1)
    images = numbers.many(accuracy.total, "image")
    return f"The original model: {found} top-1 on {images} ({numbers.span(accuracy.interval)})"


def preset_table(presets: Sequence[PresetScore]) -> Table:
    """Return what the model scored with every preset that was tried."""
    rows = tuple((row.name, numbers.percent(row.top1), f"{row.log_probability:.3f}") for row in presets)
    return Table("Preprocessing presets tried", ("preset", "top-1", "mean log probability"), rows, frozenset({1, 2}))


def skipped_lines(skipped: Sequence[str], limit: int | None) -> Lines:
    """Name the files that could not be read, the first `limit` of them."""
    lines = list(skipped[:limit])
    if limit is not None and len(skipped) > limit:
        lines.append(f"and {len(skipped) - limit} more, which -v shows")
    return Lines(tuple(lines), f"Skipped {numbers.many(len(skipped), 'file')} that cannot be read")
