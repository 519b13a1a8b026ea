"""What is told while a run goes on: what was found in the model and in the data."""

from collections.abc import Iterator, Mapping, Sequence

from onnxprune.report import numbers
from onnxprune.report.blocks import Block, Lines, Table
from onnxprune.report.requests import left_words
from onnxprune.values.accuracy import Accuracy
from onnxprune.values.amount import percent
from onnxprune.values.data import DataSummary, PresetScore
from onnxprune.values.groups import ChannelGroup


def groups_line(groups: Sequence[ChannelGroup]) -> str:
    """Say how much of a model can be pruned."""
    free = [group for group in groups if group.prunable]
    channels = numbers.many(sum(group.size for group in free), "prunable channel")
    frozen = sum(group.frozen is not None for group in groups)
    return f"{channels} in {numbers.many(len(free), 'group')}, {numbers.many(frozen, 'group')} frozen"


def least_line(left: Mapping[str, float]) -> str:
    """Say what no budget can get below, as shares of what there is."""
    return f"The least that can be left: {', '.join(left_words(kind, share) for kind, share in left.items())}."


def original_line(accuracy: Accuracy) -> str:
    """Say how good the original model is."""
    found = percent(accuracy.top1)
    images = numbers.many(accuracy.total, "image")
    return f"The original model: {found} top-1 on {images} ({numbers.span(accuracy.interval)})"


def preset_table(presets: Sequence[PresetScore]) -> Table:
    """Return what the model scored with every preset that was tried."""
    rows = tuple((row.name, percent(row.top1), f"{row.log_probability:.3f}") for row in presets)
    return Table("Preprocessing presets tried", ("preset", "top-1", "mean log probability"), rows, frozenset({1, 2}))


def skipped_lines(skipped: Sequence[str], limit: int | None) -> Lines:
    """Name the files that could not be read, the first `limit` of them."""
    lines = list(skipped[:limit])
    if limit is not None and len(skipped) > limit:
        lines.append(f"and {len(skipped) - limit} more, which -v shows")
    return Lines(tuple(lines), f"Skipped {numbers.many(len(skipped), 'file')} that cannot be read")


SCORED = "Scores from {} samples, measured on {} others."
TRAINED = "Training on {} samples, validation on {} others."


CONVERTED = {
    "grey to colour": "Grey images, whose values are given to every channel: {}",
    "colour to grey": "Images in colour, turned grey for a model of one channel: {}",
    "transparency dropped": "Images with transparency, which is left out: {}",
}
"""What is said of images whose channels were converted."""


def data_blocks(data: DataSummary, limit: int | None, use: str = SCORED) -> Iterator[Block]:
    """Say what data was opened; `use` says what for, and `limit` is of the skipped files that are named."""
    yield skipped_lines(data.skipped, limit)
    yield preset_table(data.presets)
    lines = [f"Preprocessing: {data.scaling}."]
    if data.original is not None:
        lines.append(f"{original_line(data.original)}.")
    if data.classes:
        lines.append(f"Classes: {', '.join(data.classes)}; scores and accuracies are of these alone.")
    lines.append(use.format(data.calibration, data.measured))
    if data.held is not None:
        lines.append(f"Plans are tried on {data.held} samples that were held out of the data; no score sees them.")
    yield Lines((*lines, *(f"{CONVERTED[how].format(number)}." for how, number in sorted(data.converted.items()))))
