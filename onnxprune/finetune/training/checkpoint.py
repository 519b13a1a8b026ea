"""The state of a training run in a file: written after every epoch, in one step, and read only as plain tensors."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from onnxprune.graph.storage.resumable import Resumable

State = dict[str, Any]


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: from 1; 0 is before training.
        loss: mean over the training samples; None before training.
        validation_loss: mean over the validation samples.
        top1: share of the validation samples classified right; None without labels or classes.
        rate: learning rate of the last step.
        seconds: that it took.
    """

    number: int
    loss: float | None
    validation_loss: float
    top1: float | None
    rate: float = 0.0
    seconds: float = 0.0

    @property
    def score(self) -> tuple[float, float]:
        """Higher is better: accuracy, and the loss where that is equal."""
        return (-1.0 if self.top1 is None else self.top1, -self.validation_loss)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a run stands.

    Attributes:
        run: what tells this run from any other: its recipe, model and data.
        module, best: values of the parameters and running statistics by name, now and in the best epoch.
        optimizer: its state.
        history: all epochs so far.
    """

    run: State
    module: State
    best: State
    optimizer: State
    history: tuple[Epoch, ...] = field(default=())


def _encode(fields: Mapping[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.save(dict(fields), content)
    return content.getvalue()


def _decode(content: bytes) -> Any:
    """Return the fields; nothing but tensors and plain values is ever unpickled."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


CHECKPOINT = Resumable("checkpoint of a training run", encode=_encode, decode=_decode)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in one step.

    Raises:
        InputError: it cannot be written there.
    """
    fields = {**vars(checkpoint), "history": [vars(epoch) for epoch in checkpoint.history]}
    CHECKPOINT.save(path, fields.pop("run"), fields)


def load_checkpoint(path: Path, run: State) -> Checkpoint:
    """Read the checkpoint of a run.

    Raises:
        InputError: it cannot be read, or is of another run; the message says in what.
    """
    fields = CHECKPOINT.read(path)
    try:
        found = Checkpoint(**{**fields, "history": tuple(Epoch(**entry) for entry in fields["history"])})
    except (KeyError, TypeError) as error:
        raise CHECKPOINT.damaged(path, error) from None
    CHECKPOINT.check_run(path, found.run, run)
    return found
