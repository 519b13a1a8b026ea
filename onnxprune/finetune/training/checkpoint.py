"""The state of a training run in a file: written after every epoch, in one step, and read only as plain tensors."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from onnxprune.errors import InputError
from onnxprune.graph.storage.staging import Staging
from onnxprune.values.training import Epoch

State = dict[str, Any]
FORMAT = 1


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


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in one step: who stops the run at any moment finds the old one or the new one.

    Raises:
        InputError: it cannot be written there.
    """
    content = io.BytesIO()
    fields = {**vars(checkpoint), "history": [vars(epoch) for epoch in checkpoint.history], "format": FORMAT}
    torch.save(fields, content)
    with Staging() as staging:
        staging.write(path, content.getvalue())
        staging.commit(last=path)


def load_checkpoint(path: Path, run: State) -> Checkpoint:
    """Read the checkpoint of a run. Nothing but tensors and plain values is ever unpickled.

    Raises:
        InputError: it cannot be read, or is of another run; the message says in what.
    """
    try:
        fields = torch.load(path, map_location="cpu", weights_only=True)
        if fields.pop("format") != FORMAT:
            raise ValueError("another version wrote it")
        history = tuple(Epoch(**entry) for entry in fields.pop("history"))
        found = Checkpoint(**fields, history=history)
    except FileNotFoundError:
        raise InputError(f"There is no checkpoint '{path}' to resume from; leave out --resume to begin.") from None
    except Exception as error:
        raise InputError(f"'{path}' is no checkpoint of a training run ({error}); remove it and begin anew.") from error
    other = [name for name in run if found.run.get(name) != run[name]]
    if other:
        raise InputError(
            f"The checkpoint '{path}' is of another run (other {', '.join(other)}); give the options that it was "
            "begun with, or leave out --resume."
        )
    return found
