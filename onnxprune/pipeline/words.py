"""The events of a run in words: the same blocks in a terminal and in a notebook."""

from collections.abc import Iterable

from onnxprune.pipeline.events import Analysed, DataOpened, Event, IterationBegun, LeastLeft, Resumed
from onnxprune.report.blocks import Block, Lines
from onnxprune.report.stages import SCORED, TRAINED, data_blocks, groups_line, least_line


def event_blocks(event: Event, limit: int | None) -> Iterable[Block]:
    """Return what is said of an event; nothing of the progress of training and of what only begins.

    Args:
        event: what happened.
        limit: skipped files that are named; None: all.
    """
    match event:
        case Analysed():
            return (Lines((f"Found {groups_line(event.analysis.groups)}.",)),)
        case LeastLeft():
            return (Lines((least_line(event.shares),)),)
        case DataOpened():
            return data_blocks(event.samples.summary, limit, TRAINED if event.training else SCORED)
        case Resumed():
            return (Lines((event.message,)),)
        case IterationBegun():
            return (Lines((f"Iteration {event.number}:",)),)
        case _:
            return ()
