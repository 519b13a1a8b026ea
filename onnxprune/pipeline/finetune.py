"""Training a model's weights in place, after a cut or as a job of its own; torch is imported when that runs."""

from dataclasses import replace
from typing import TYPE_CHECKING

import attrs

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
from onnxprune.pipeline.config.jobs import FinetuneConfig
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


def finetune(config: FinetuneConfig, listener: Listener = NULL_LISTENER) -> Finetuned:
    """Train a model and write it with the weights of the best epoch.

    Of several processes that torch's launcher started only the first measures and writes.

    Raises:
        InputError: bad input or usage, or torch is missing.
        UnreachableError: no epoch was better than none.
        VerificationError: the runtime computes something else than what was trained.
    """
    require_torch()
    from onnxprune.finetune.training.processes import joined, limited_threads

    check_input(config.model)
    check_outputs({"the model": config.written, "the checkpoint": config.checkpoint_written}, config.inputs)
    with joined(config.device) as processes, limited_threads(config.threads):
        listener.hear(Working("Reading the model"))
        model = load(config.model)
        teacher = None if config.teacher is None else load(config.teacher)
        if not config.resume and not is_null(config.checkpoint_written):
            refuse_to_begin_over(config.checkpoint_written)
        check_training(config.recipe, model.graph)
        samples, measured = _samples(config, model, teacher, listener)
        trained, proto, weights = tune(
            model.graph,
            samples.calibration,
            samples.measured,
            None if teacher is None else teacher.graph,
            config.recipe,
            processes,
            checkpoint=config.checkpoint_written,
            resume=config.resume,
            track=listener.track,
            watch=TrainingWatch(listener, config.recipe.epochs),
            seen=(model.digest, None if teacher is None else teacher.digest),
        )
        found = Finetuned(
            config.model,
            config.teacher,
            config.recipe.to_json(),
            trained.history,
            trained.best,
            samples.summary,
            chosen_on_measured=config.test is None,
            warnings=(trained.ended,) if trained.ended else (),
            notes=model.notes,
        )
        if trained.best.number == 0 and config.recipe.part != "none":
            if processes.first:
                remove(config.checkpoint_written)
            raise UnreachableError(
                f"No epoch was better on the validation data than the model was before.{' ' + trained.ended} "
                "Nothing was written; try another --lr, more --epochs or more data.",
                "no-gain",
            )
        if not processes.first:
            return found
        return _write(config, model, found, measured, trained, proto, weights, listener)


def _samples(
    config: FinetuneConfig, model: Model, teacher: Model | None, listener: Listener
) -> tuple[Samples, Samples]:
    """Open the data, and what is measured on; pixels are scaled as the teacher, where there is one, is best with."""
    opening, opened_for = config.opening, model
    listener.hear(Working("Opening the data"))
    judge = model if teacher is None else teacher
    left = classes_left(model.proto)
    if left and not classes_left(judge.proto):  # cut to these classes: their numbers are those of the teacher's outputs
        opening, opened_for = attrs.evolve(opening, classes=config.classes or left), judge
    session = open_session(judge.proto, judge.weights, name=str(judge.path), threads=config.threads)
    samples = scale_pixels(open_samples(opening, opened_for), opening, session, listener.track)
    listener.hear(DataOpened(samples, training=True))
    if teacher is None and samples.calibration.labels is None:
        raise InputError(
            "The training data has no labels, so only another model can teach this one; name it with --teacher.",
            "no-labels",
        )
    if (samples.measured.labels is None) != (samples.calibration.labels is None):
        raise InputError("Either the training and the validation data have labels, or neither has.", "no-labels")
    return samples, measured_on(config.test, samples, opening, opened_for)


def _write(
    config: FinetuneConfig,
    model: Model,
    found: Finetuned,
    samples: Samples,
    trained: "Trained",
    proto: "onnx.ModelProto",
    weights: "Weights",
    listener: Listener,
) -> Finetuned:
    """Stage the trained model, check and measure it as it is read back, and put it in its place."""
    written, recipe = config.written, config.recipe
    listener.hear(Working("Checking and measuring the trained model"))
    with_metadata(proto, {"onnxprune.finetuned": f"{trained.best.number} of {recipe.epochs} epochs, {recipe.part}"})
    with Staging() as staging:
        folder = staging.folder(written)
        with explained(written):
            names = data_names(proto, weights, written, (config.checkpoint_written,), config.inputs)
            write_model(proto, weights, folder / written.name, names)
        proto, weights = open_model(folder / written.name)
        check_structure(proto, model.proto, weights=weights, original_weights=model.weights)
        session = open_session(proto, weights, name="the trained model", threads=config.threads)
        check_trained(trained, session, samples.calibration)
        quality = Evaluator(config.opening, model, samples, listener.track).quality(session)
        staging.commit(last=written, kept=bool(names))
    remove(config.checkpoint_written)
    return replace(found, quality=quality, output=written)
