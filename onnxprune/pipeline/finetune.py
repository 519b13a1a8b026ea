"""Training a model's weights in place, after a cut or as a job of its own; torch is imported when that runs."""

from dataclasses import replace
from typing import TYPE_CHECKING

from onnxprune.errors import InputError, UnreachableError
from onnxprune.finetune.installed import require_torch
from onnxprune.graph.checking import check_structure
from onnxprune.graph.loaded import Model, load
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.metadata import classes_left
from onnxprune.graph.storage.paths import check_input, check_outputs, data_names
from onnxprune.graph.storage.places import is_null, remove
from onnxprune.graph.storage.resumable import refuse_to_begin_over
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.staging import Staging, explained, with_metadata
from onnxprune.pipeline.config.settings import FinetuneSettings
from onnxprune.pipeline.evaluator import Evaluator
from onnxprune.pipeline.events import NULL_LISTENER, DataOpened, Listener, Working
from onnxprune.pipeline.execution.training import TrainingWatch, check_trained, check_training, tune
from onnxprune.pipeline.samples import Samples, measured_on, open_samples, scale_pixels
from onnxprune.runtime import open_session
from onnxprune.values.results import Finetuned

if TYPE_CHECKING:
    import onnx

    from onnxprune.finetune.training.loop import Trained
    from onnxprune.graph.storage.weights import Weights


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
    check_input(settings.model)
    check_outputs({"the model": job.written, "the checkpoint": job.checkpoint_written}, job.inputs)
    with joined(job.device) as processes, limited_threads(settings.threads):
        listener.hear(Working("Reading the model"))
        model = load(settings.model)
        teacher = None if job.teacher is None else load(job.teacher)
        if not job.resume and not is_null(job.checkpoint_written):
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
            job.recipe.to_json(),
            trained.history,
            trained.best,
            samples.summary,
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
            names = data_names(proto, weights, written, (job.checkpoint_written,), job.inputs)
            write_model(proto, weights, folder / written.name, names)
        proto, weights = open_model(folder / written.name)
        check_structure(proto, model.proto, weights=weights, original_weights=model.weights)
        session = open_session(proto, weights, name="the trained model", threads=settings.threads)
        check_trained(trained, session, samples.calibration)
        quality = Evaluator(settings, model, samples, listener.track).quality(session)
        staging.commit(last=written)
    remove(job.checkpoint_written)
    return replace(found, quality=quality, output=written)
