"""Logs of a training for TensorBoard."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxprune.errors import InputError
from onnxprune.pipeline.events import BatchTrained, EpochTrained, Event
from onnxprune.values.progress import Item


class LogListener:
    """Logs losses, accuracy and rate."""

    def __init__(self, log: Any) -> None:
        """Log to a SummaryWriter of TensorBoard."""
        self._log = log

    def hear(self, event: Event) -> None:
        """Log what a step or an epoch of training came to."""
        if isinstance(event, BatchTrained):
            self._log.add_scalar("loss/step", event.loss, (event.epoch - 1) * event.steps + event.done)
        elif isinstance(event, EpochTrained):
            epoch = event.epoch
            found = {
                "loss/training": epoch.loss,
                "loss/validation": epoch.validation_loss,
                "top1/validation": epoch.top1,
                "rate": epoch.rate,
            }
            for name, value in found.items():
                if value is not None:
                    self._log.add_scalar(name, value, epoch.number)

    def track(self, items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        """Yield the items."""
        del total, what
        yield from items


def is_first() -> bool:
    """Whether this is the only process, or the first of those that torch's launcher started: the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def open_log(folder: Path) -> Iterator[LogListener]:
    """Open the logs in `folder`.

    Raises:
        InputError: TensorBoard is not installed, or the folder cannot be written to.
    """
    log = _writer(folder)
    try:
        yield LogListener(log)
    finally:
        log.close()


def _writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            f"--tensorboard needs the package tensorboard ({error}); pip install tensorboard, or leave it out.",
            "not-installed",
        ) from error
    try:
        return SummaryWriter(folder)
    except OSError as error:
        raise InputError(
            f"Cannot write logs to {folder} ({error.strerror}); name another folder.", "not-writable"
        ) from None
