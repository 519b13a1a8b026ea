"""Training a graph's weights with torch, which is imported when that runs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxprune.data import Dataset
from onnxprune.errors import InputError, VerificationError
from onnxprune.evaluation import class_output, gives_probabilities
from onnxprune.finetune.installed import require_torch
from onnxprune.finetune.training.recipe import Recipe
from onnxprune.graph.model import Graph, with_outputs
from onnxprune.pipeline.events import BatchTrained, EpochTrained, Listener, TrainingBegun, TrainingEnded
from onnxprune.runtime import Session, open_session
from onnxprune.values.interface import narrowed
from onnxprune.values.progress import Track, silent
from onnxprune.values.training import Epoch

if TYPE_CHECKING:
    import onnx

    from onnxprune.finetune.blocks import Kept
    from onnxprune.finetune.training.loop import Trained, Watch
    from onnxprune.finetune.training.processes import Processes
    from onnxprune.graph.storage.weights import Weights


CLOSE = 1e-3
"""Largest relative difference between torch and the runtime on the trained model."""

COMPARED = 64
"""Samples by which the channels of a model are found among a teacher's."""

PROBED = 8
"""Samples on which they are compared."""


class TrainingWatch:
    """Tells a listener how a training goes on."""

    def __init__(self, listener: Listener, epochs: int) -> None:
        self._listener = listener
        listener.hear(TrainingBegun(epochs))

    def step(self, epoch: int, done: int, steps: int, loss: float, rate: float) -> None:
        """Tell of a step."""
        self._listener.hear(BatchTrained(epoch, done, steps, loss, rate))

    def epoch(self, epoch: Epoch, *, best: bool) -> None:
        """Tell of an epoch."""
        self._listener.hear(EpochTrained(epoch, best))

    def done(self) -> None:
        """Tell of the end."""
        self._listener.hear(TrainingEnded())


def check_training(recipe: Recipe, graph: Graph) -> None:
    """Refuse at once what could only be refused after much work otherwise.

    Raises:
        InputError: torch or kornia is missing, an unknown augmentation, or a graph or part that cannot be trained.
    """
    require_torch()
    from onnxprune.finetune.interpreter.module import checked
    from onnxprune.finetune.training.augment import check_kinds
    from onnxprune.finetune.training.part import chosen

    check_kinds(recipe.augment)
    chosen(graph, checked(graph), recipe.part)


def tune(  # noqa: PLR0913 (every setting has its default)
    graph: Graph,
    training: Dataset,
    validation: Dataset,
    teacher: Graph | None,
    recipe: Recipe,
    processes: "Processes",
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    track: Track = silent,
    watch: "Watch | None" = None,
    seen: tuple[str | None, ...] = (),
) -> "tuple[Trained, onnx.ModelProto, Weights]":
    """Train a graph; return what came of it, and the model with the new weights.

    Raises:
        InputError: a graph or a part that cannot be trained, a teacher with other outputs, too few samples, a
            checkpoint of another run.
    """
    from onnxprune.finetune.interpreter.export import trained_model
    from onnxprune.finetune.training.feeding import decoded
    from onnxprune.finetune.training.loop import Task, train

    answers = _answers(graph, teacher, training)
    blocks = _blocks(graph, teacher, recipe, training)
    task = Task(graph, decoded(training, track), decoded(validation, track), answers, teacher, blocks)
    run = {"model": list(seen), "data": [training.digest(), validation.digest()]} if checkpoint is not None else {}
    trained = train(task, recipe, processes, checkpoint=checkpoint, resume=resume, run=run, watch=watch)
    return trained, *trained_model(graph, trained.module)


def _blocks(graph: Graph, teacher: Graph | None, recipe: Recipe, data: Dataset) -> "dict[str, Kept]":
    """Return the ends of blocks that a teacher is followed at; nothing where its answers alone are learnt.

    Raises:
        InputError: its blocks are to be followed, and there are none that the model has some channels of.
    """
    if teacher is None or (recipe.match or ("answers" if data.labels is not None else "blocks")) == "answers":
        return {}
    from onnxprune.finetune.blocks import kept_channels
    from onnxprune.finetune.matching import targets

    names = [name for name in targets(graph) if name in teacher.producers]
    feeds = next(data.batches(min(COMPARED, len(data)))).feeds
    own, taught = (
        open_session(found.model, found.weights, name="the model").run_samples(feeds)
        for found in (with_outputs(graph, names), with_outputs(teacher, names))
    )
    samples = len(next(iter(feeds.values())))
    kept = {name: kept_channels(own[name], taught[name]) for name in names if len(own[name]) == samples}
    found = {name: channels for name, channels in kept.items() if channels is not None}
    if recipe.match == "blocks" and not found:
        raise InputError(
            "The teacher has no blocks whose channels the model has some of; name the model that this one was pruned "
            "from, or use --match answers.",
            "wrong-model",
        )
    return found


def _answers(graph: Graph, teacher: Graph | None, data: Dataset) -> Any:
    """Find out which outputs count.

    Raises:
        InputError: the teacher has other outputs, or labels come with a model that is no classifier.
    """
    from onnxprune.finetune.training.objective import Answers

    session = open_session(graph.model, graph.weights, name="the model")
    other = None if teacher is None else open_session(teacher.model, teacher.weights, name="the teacher")
    if other is not None:
        _check_alike(session, other, next(data.batches(1)).feeds, data.outputs or ())
    try:
        output, _ = class_output(session, data)
    except InputError:
        if data.labels is not None:
            raise
        return Answers(None)
    place = [spec.name for spec in session.outputs].index(output)
    taught = None if other is None else gives_probabilities(other, data, other.outputs[place].name)
    return Answers(place, gives_probabilities(session, data, output), data.outputs, taught)


def _check_alike(one: Session, other: Session, feeds: Mapping[str, Any], classes: Sequence[int]) -> None:
    """Check that a teacher can teach a model, whose class scores may have been cut to those of `classes`."""
    if [spec.name for spec in one.inputs] != [spec.name for spec in other.inputs]:
        raise InputError(
            "The teacher has other inputs than the model; name the model that this one was pruned from.", "wrong-model"
        )
    shapes = [
        [narrowed(value, one.interface.get(name, ())).shape[1:] for name, value in found.run_samples(feeds).items()]
        for found in (one, other)
    ]
    for place, (mine, taught) in enumerate(zip(*shapes, strict=False)):
        if classes and math.prod(mine) == len(classes) and math.prod(taught) == max(taught) > max(classes):
            shapes[1][place] = mine
    if shapes[0] != shapes[1]:
        raise InputError(
            f"The teacher's outputs have shapes {shapes[1]} and the model's {shapes[0]} (per sample); name the model "
            "that this one was pruned from.",
            "wrong-model",
        )


def check_trained(trained: "Trained", session: Session, data: Dataset) -> None:
    """Check that the runtime computes on the written model what torch does on the trained one.

    Raises:
        VerificationError: it does not.
    """
    from onnxprune.finetune.interpreter.calls import run_all

    some = next(data.batches(PROBED)).feeds
    outputs = session.run_samples(some)
    found = run_all(trained.module, some)[: len(outputs)]  # behind these are the ends of blocks
    for (name, wanted), value in zip(outputs.items(), found, strict=True):
        if wanted.dtype.kind != "f":
            continue
        error = np.abs(value - wanted).max() / (np.abs(wanted).max() + 1e-12)
        if not error <= CLOSE:
            raise VerificationError(
                f"onnxruntime computes something else than what was trained: output {name!r} differs by {error:.1e} "
                f"(allowed {CLOSE:.0e}); nothing was written, please report this model.",
                "training-differs",
            )
