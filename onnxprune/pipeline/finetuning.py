"""Training a model's weights in place, after a cut or as a job of its own; torch is imported when that runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxprune import __version__
from onnxprune.data import Dataset
from onnxprune.errors import InputError, UnreachableError, VerificationError
from onnxprune.evaluation import class_output
from onnxprune.finetune.training.recipe import Recipe
from onnxprune.graph.checking import check_structure
from onnxprune.graph.loading import open_model
from onnxprune.graph.metadata import classes_left
from onnxprune.graph.model import Graph
from onnxprune.graph.outputs import Inputs, check_input, check_outputs, data_names
from onnxprune.graph.places import beside, is_null, remove
from onnxprune.graph.saving import write_model
from onnxprune.graph.writing import Staging, explained, with_metadata
from onnxprune.pipeline.cache import cache_folder
from onnxprune.pipeline.quality import Gauge
from onnxprune.pipeline.result import Tell, unheard
from onnxprune.pipeline.samples import Samples, measured_on, open_samples
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.stages import Model, load, require_torch
from onnxprune.runtime import Session, open_session
from onnxprune.values.outcome import Quality
from onnxprune.values.progress import Track, silent

if TYPE_CHECKING:
    import onnx

    from onnxprune.finetune.training.checkpoint import Epoch
    from onnxprune.finetune.training.loop import Trained, Watch
    from onnxprune.finetune.training.processes import Processes
    from onnxprune.graph.weights import Weights

CLOSE = 1e-3
"""Largest relative difference between torch and the runtime on the trained model."""

PROBED = 8
"""Samples on which they are compared."""


@dataclass(frozen=True)
class FinetuneSettings:
    """What to train and how.

    Attributes:
        settings: the model, the data and its treatment; its `test` is the validation data, else `holdout` of the data.
        recipe: how.
        teacher: the model whose answers are learnt.
        measured: data of its own to measure on; None: the validation data.
        device: auto, cpu or cuda.
        checkpoint: where the state is kept; None: beside the output.
        resume: go on from there.
    """

    settings: Settings
    recipe: Recipe = field(default_factory=Recipe)
    teacher: Path | None = None
    measured: Path | None = None
    device: str = "auto"
    checkpoint: Path | None = None
    resume: bool = False

    @property
    def written(self) -> Path:
        """Where the trained model goes."""
        model = self.settings.model
        return self.settings.output or model.with_name(f"{model.stem}.finetuned.onnx")

    @property
    def checkpoint_written(self) -> Path:
        """Where the state is kept."""
        return self.checkpoint or beside(self.written, ".checkpoint")

    @property
    def has_checkpoint(self) -> bool:
        """Whether a state is kept there."""
        return self.checkpoint_written.exists() and not is_null(self.checkpoint_written)

    @property
    def inputs(self) -> Inputs:
        """What is read."""
        settings = self.settings
        return Inputs(
            {
                "the training data": settings.data,
                "the validation data": settings.test,
                "the test data": self.measured,
                "the given labels": settings.labels,
            },
            {"the input model": settings.model, "the teacher": self.teacher},
            cache_folder(),
        )


@dataclass(frozen=True, eq=False)
class Finetuned:
    """What training came to.

    Attributes:
        model, teacher: the files.
        recipe: how it was trained.
        history: every epoch; number 0 is before training.
        best: the epoch whose weights are written.
        quality: before and after, on `quality.source`; None where this process is not the first.
        samples: training data as `calibration`, validation data as `measured`.
        chosen_on_measured: whether the data that was measured on also chose the epoch.
        output: what was written.
    """

    model: Path
    teacher: Path | None
    recipe: Recipe
    history: "Sequence[Epoch]"
    best: "Epoch"
    samples: Samples
    quality: Quality | None = None
    chosen_on_measured: bool = True
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    output: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "version": __version__,
            "model": str(self.model),
            "teacher": None if self.teacher is None else str(self.teacher),
            "output": None if self.output is None else str(self.output),
            "recipe": self.recipe.to_json(),
            "history": [vars(epoch) for epoch in self.history],
            "best": self.best.number,
            "quality": None if self.quality is None else self.quality.to_json(),
            "skipped": list(self.samples.skipped),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


def finetune(
    job: FinetuneSettings, track: Track = silent, say: Tell = unheard, watch: "Watch | None" = None
) -> Finetuned:
    """Train a model and write it with the weights of the best epoch.

    Of several processes that torch's launcher started only the first measures and writes.

    Raises:
        InputError: bad input or usage, or torch is missing.
        UnreachableError: no epoch was better than none.
        VerificationError: the runtime computes something else than what was trained.
    """
    require_torch()
    from onnxprune.finetune.training.processes import joined, limited_threads

    settings = job.settings
    check_input(settings.model)
    check_outputs({"the model": job.written, "the checkpoint": job.checkpoint_written}, job.inputs)
    with joined(job.device) as processes, limited_threads(settings.threads):
        say("working", "Reading the model")
        model = load(settings.model)
        teacher = None if job.teacher is None else load(job.teacher)
        if job.has_checkpoint and not job.resume:
            raise InputError(f"'{job.checkpoint_written}' is there already; go on with --resume, or remove it.")
        check_training(job.recipe, model.graph)
        samples, measured = _samples(job, model, teacher, track, say)
        trained, proto, weights = tune(
            model.graph,
            samples.calibration,
            samples.measured,
            None if teacher is None else teacher.graph,
            job.recipe,
            processes,
            checkpoint=job.checkpoint_written,
            resume=job.resume,
            track=track,
            watch=watch,
            seen=(model.digest, None if teacher is None else teacher.digest),
        )
        found = Finetuned(
            settings.model,
            job.teacher,
            job.recipe,
            trained.history,
            trained.best,
            samples,
            chosen_on_measured=job.measured is None,
            warnings=(trained.ended,) if trained.ended else (),
            notes=model.notes,
        )
        if trained.best.number == 0 and job.recipe.part != "none":
            if processes.first:
                remove(job.checkpoint_written)
            raise UnreachableError(
                f"No epoch was better on the validation data than the model was before.{' ' + trained.ended} "
                "Nothing was written; try another --lr, more --epochs or more data."
            )
        if not processes.first:
            return found
        return _write(job, model, found, measured, trained, proto, weights, track, say)


def _samples(
    job: FinetuneSettings, model: Model, teacher: Model | None, track: Track, say: Tell
) -> tuple[Samples, Samples]:
    """Open the data, and what is measured on; pixels are scaled as the teacher, where there is one, is best with."""
    settings, opened_for = job.settings, model
    say("working", "Opening the data")
    judge = model if teacher is None else teacher
    left = classes_left(model.proto)
    if left and not classes_left(judge.proto):  # cut to these classes: their numbers are those of the teacher's outputs
        settings, opened_for = replace(settings, classes=settings.classes or left), judge
    session = open_session(judge.proto, judge.weights, name=str(judge.path), threads=settings.threads)
    samples = open_samples(settings, opened_for, session, track)
    say("training samples", samples)
    if teacher is None and samples.calibration.labels is None:
        raise InputError(
            "The training data has no labels, so only another model can teach this one; name it with --teacher."
        )
    if (samples.measured.labels is None) != (samples.calibration.labels is None):
        raise InputError("Either the training and the validation data have labels, or neither has.")
    return samples, measured_on(job.measured, samples, settings, opened_for)


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


def tune(
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
    task = Task(graph, decoded(training, track), decoded(validation, track), answers, teacher)
    run = {"model": list(seen), "data": [training.digest(), validation.digest()]} if checkpoint is not None else {}
    trained = train(task, recipe, processes, checkpoint=checkpoint, resume=resume, run=run, watch=watch)
    return trained, *trained_model(graph, trained.module)


def _answers(graph: Graph, teacher: Graph | None, data: Dataset) -> Any:
    """Find out which outputs count.

    Raises:
        InputError: the teacher has other outputs, or labels come with a model that is no classifier.
    """
    from onnxprune.finetune.training.objective import Answers, ends_in_softmax

    session = open_session(graph.model, graph.weights, name="the model")
    first = next(data.batches(1))
    if teacher is not None:
        other = open_session(teacher.model, teacher.weights, name="the teacher")
        _check_alike(session, other, first.feeds, data.outputs or ())
    try:
        output, _ = class_output(session, data)
    except InputError:
        if data.labels is not None:
            raise
        return Answers(None)
    place = [spec.name for spec in session.outputs].index(output)
    taught = None if teacher is None else ends_in_softmax(teacher, teacher.outputs[place])
    return Answers(place, ends_in_softmax(graph, output), data.outputs, taught)


def _check_alike(one: Session, other: Session, feeds: Mapping[str, Any], classes: Sequence[int]) -> None:
    """Check that a teacher can teach a model, whose class scores may have been cut to those of `classes`."""
    if [spec.name for spec in one.inputs] != [spec.name for spec in other.inputs]:
        raise InputError("The teacher has other inputs than the model; name the model that this one was pruned from.")
    shapes = [[value.shape[1:] for value in found.run_samples(feeds).values()] for found in (one, other)]
    for place, (mine, taught) in enumerate(zip(*shapes, strict=False)):
        if classes and math.prod(mine) == len(classes) and math.prod(taught) == max(taught) > max(classes):
            shapes[1][place] = mine
    if shapes[0] != shapes[1]:
        raise InputError(
            f"The teacher's outputs have shapes {shapes[1]} and the model's {shapes[0]} (per sample); name the model "
            "that this one was pruned from."
        )


def check_trained(trained: "Trained", session: Session, data: Dataset) -> None:
    """Check that the runtime computes on the written model what torch does on the trained one.

    Raises:
        VerificationError: it does not.
    """
    from onnxprune.finetune.interpreter.calls import run_all

    some = next(data.batches(PROBED)).feeds
    found = run_all(trained.module, some)
    for (name, wanted), value in zip(session.run_samples(some).items(), found, strict=True):
        if wanted.dtype.kind != "f":
            continue
        error = np.abs(value - wanted).max() / (np.abs(wanted).max() + 1e-12)
        if not error <= CLOSE:
            raise VerificationError(
                f"onnxruntime computes something else than what was trained: output {name!r} differs by {error:.1e} "
                f"(allowed {CLOSE:.0e}); nothing was written, please report this model."
            )


def _write(
    job: FinetuneSettings,
    model: Model,
    found: Finetuned,
    samples: Samples,
    trained: "Trained",
    proto: "onnx.ModelProto",
    weights: "Weights",
    track: Track,
    say: Tell,
) -> Finetuned:
    """Stage the trained model, check and measure it as it is read back, and put it in its place."""
    settings, written = job.settings, job.written
    say("working", "Checking and measuring the trained model")
    recipe = job.recipe
    with_metadata(proto, {"onnxprune.finetuned": f"{trained.best.number} of {recipe.epochs} epochs, {recipe.part}"})
    with Staging() as staging:
        folder = staging.folder(written)
        with explained(written):
            taken = (job.checkpoint_written, *job.inputs.paths())
            write_model(proto, weights, folder / written.name, data_names(proto, weights, written, taken))
        proto, weights = open_model(folder / written.name)
        check_structure(proto, model.proto, weights=weights, original_weights=model.weights)
        session = open_session(proto, weights, name="the trained model", threads=settings.threads)
        check_trained(trained, session, samples.calibration)
        quality = Gauge(settings, model, samples, track).quality(session)
        staging.commit(last=written)
    remove(job.checkpoint_written)
    return replace(found, quality=quality, output=written)
