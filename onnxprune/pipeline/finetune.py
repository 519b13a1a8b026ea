"""Training a model's weights in place, after a cut or as a job of its own; torch is imported when that runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxprune._version import __version__
from onnxprune.errors import InputError, UnreachableError
from onnxprune.finetune.installed import require_torch
from onnxprune.finetune.training.recipe import Recipe
from onnxprune.graph.checking import check_structure
from onnxprune.graph.loaded import Model, load
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.metadata import classes_left
from onnxprune.graph.storage.paths import check_input, check_outputs, data_files, data_names
from onnxprune.graph.storage.resumable import refuse_to_begin_over
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.staging import Staging, explained, with_metadata
from onnxprune.pipeline.config import Settings
from onnxprune.pipeline.events import NULL_LISTENER, DataOpened, Listener, Working
from onnxprune.pipeline.execution.evaluator import Evaluator
from onnxprune.pipeline.execution.training import TrainingWatch, check_trained, check_training, tune
from onnxprune.pipeline.samples import Samples, measured_on, open_samples, scale_pixels
from onnxprune.runtime import open_session
from onnxprune.values.outcome import Quality

if TYPE_CHECKING:
    import onnx

    from onnxprune.finetune.training.checkpoint import Epoch
    from onnxprune.finetune.training.loop import Trained
    from onnxprune.graph.storage.weights import Weights


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
        return self.checkpoint or self.written.with_suffix(".checkpoint")


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


def finetune(job: FinetuneSettings, listener: Listener = NULL_LISTENER) -> Finetuned:
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
    inputs = {
        "the input model": settings.model,
        "the training data": settings.data,
        "the validation data": settings.test,
        "the test data": job.measured,
        "the given labels": settings.labels,
        "the teacher": job.teacher,
    }
    outputs = {"the model": job.written, "the checkpoint": job.checkpoint_written}
    check_input(settings.model)
    check_outputs(outputs, inputs)
    with joined(job.device) as processes, limited_threads(settings.threads):
        listener.hear(Working("Reading the model"))
        model = load(settings.model)
        check_outputs(outputs, data_files(model.weights))
        teacher = None if job.teacher is None else load(job.teacher)
        if teacher is not None:
            check_outputs(outputs, data_files(teacher.weights))
        if not job.resume:
            refuse_to_begin_over(job.checkpoint_written)
        check_training(job.recipe, model.graph)
        samples, measured = _samples(job, model, teacher, listener)
        trained, proto, weights = tune(
            model.graph,
            samples.calibration,
            samples.measured,
            None if teacher is None else teacher.graph,
            job.recipe,
            processes,
            checkpoint=job.checkpoint_written,
            resume=job.resume,
            track=listener.track,
            watch=TrainingWatch(listener, job.recipe.epochs),
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
                job.checkpoint_written.unlink(missing_ok=True)
            raise UnreachableError(
                f"No epoch was better on the validation data than the model was before.{' ' + trained.ended} "
                "Nothing was written; try another --lr, more --epochs or more data."
            )
        if not processes.first:
            return found
        return _write(job, model, found, measured, trained, proto, weights, listener)


def _samples(job: FinetuneSettings, model: Model, teacher: Model | None, listener: Listener) -> tuple[Samples, Samples]:
    """Open the data, and what is measured on; pixels are scaled as the teacher, where there is one, is best with."""
    settings, opened_for = job.settings, model
    listener.hear(Working("Opening the data"))
    judge = model if teacher is None else teacher
    left = classes_left(model.proto)
    if left and not classes_left(judge.proto):  # cut to these classes: their numbers are those of the teacher's outputs
        settings, opened_for = replace(settings, classes=settings.classes or left), judge
    session = open_session(judge.proto, judge.weights, name=str(judge.path), threads=settings.threads)
    samples = scale_pixels(open_samples(settings, opened_for), settings, session, listener.track)
    listener.hear(DataOpened(samples, training=True))
    if teacher is None and samples.calibration.labels is None:
        raise InputError(
            "The training data has no labels, so only another model can teach this one; name it with --teacher."
        )
    if (samples.measured.labels is None) != (samples.calibration.labels is None):
        raise InputError("Either the training and the validation data have labels, or neither has.")
    return samples, measured_on(job.measured, samples, settings, opened_for)


def _write(
    job: FinetuneSettings,
    model: Model,
    found: Finetuned,
    samples: Samples,
    trained: "Trained",
    proto: "onnx.ModelProto",
    weights: "Weights",
    listener: Listener,
) -> Finetuned:
    """Stage the trained model, check and measure it as it is read back, and put it in its place."""
    settings, written = job.settings, job.written
    listener.hear(Working("Checking and measuring the trained model"))
    recipe = job.recipe
    with_metadata(proto, {"onnxprune.finetuned": f"{trained.best.number} of {recipe.epochs} epochs, {recipe.part}"})
    with Staging() as staging:
        folder = staging.folder(written)
        with explained(written):
            write_model(proto, weights, folder / written.name, data_names(proto, weights, written, ()))
        proto, weights = open_model(folder / written.name)
        check_structure(proto, model.proto, weights=weights, original_weights=model.weights)
        session = open_session(proto, weights, name="the trained model", threads=settings.threads)
        check_trained(trained, session, samples.calibration)
        quality = Evaluator(settings, model, samples, listener.track).quality(session)
        staging.commit(last=written)
    job.checkpoint_written.unlink(missing_ok=True)
    return replace(found, quality=quality, output=written)
