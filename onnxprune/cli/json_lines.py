"""The progress of a command for programs: one JSON object a line."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from onnxprune.cli.printing import finite
from onnxprune.pipeline.events import Analysed, BatchTrained, DataOpened, EpochTrained, Event
from onnxprune.values.progress import Item, Throttle


class JsonListener:
    """Writes every event as a JSON object with the key `event`, and progress at most ten times a second.

    The first and the last line on a piece of work are always written.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream
        self._throttle = Throttle()

    def hear(self, event: Event) -> None:
        """Write an event."""
        if isinstance(event, BatchTrained) and not self._throttle.is_due(event.done, event.steps):
            return
        self._write({"event": event_name(event), **event_json(event)})

    def track(self, items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        """Yield the items and write how far they are."""
        done = 0
        self._progress(what, done, total)
        for item in items:
            yield item
            done += len(item)
            if self._throttle.is_due(done, total):
                self._progress(what, done, total)

    def _progress(self, what: str, done: int, total: int) -> None:
        self._write({"event": "progress", "what": what, "done": done, "total": total})

    def _write(self, fields: dict[str, Any]) -> None:
        write_line(self._stream, fields)


def write_line(stream: TextIO, fields: dict[str, Any]) -> None:
    """Write a JSON object as one line, at once."""
    stream.write(json.dumps(finite(fields), allow_nan=False) + "\n")
    stream.flush()


def event_name(event: Event) -> str:
    """Return the name of an event's kind in lower case: `data_opened`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()


def event_json(event: Event) -> dict[str, Any]:
    """Return the fields of an event as JSON types; an analysis and data are summed up."""
    match event:
        case Analysed():
            groups = event.analysis.groups
            free = [group for group in groups if group.prunable]
            return {
                "groups": len(groups),
                "prunable_groups": len(free),
                "prunable_channels": sum(group.size for group in free),
            }
        case DataOpened():
            return {**event.samples.summary.to_json(), "training": event.training}
        case EpochTrained():
            return {**event.epoch.to_json(), "best": event.best}
        case _:
            return dict(vars(event))
