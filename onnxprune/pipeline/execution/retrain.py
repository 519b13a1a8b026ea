"""Training within a run: the recovered cut learns from the original's answers and the labels before it is measured."""

from dataclasses import replace

import onnx

from onnxprune.data import split
from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model, load
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.staging import Staging
from onnxprune.graph.storage.weights import Weights
from onnxprune.pipeline.config import Settings
from onnxprune.pipeline.context import Job
from onnxprune.pipeline.execution.evaluate import Gauge
from onnxprune.pipeline.execution.recover import Restored, measured_step, put_in_place
from onnxprune.pipeline.finetune import check_trained, check_training, tune
from onnxprune.runtime import open_session
from onnxprune.values.outcome import CUT

VALIDATION = 0.1
"""Share of the calibration samples that the best epoch is chosen on."""

TRAINED = "training"
"""The step's name in the report."""


def check_retraining(settings: Settings, model: Model) -> None:
    """Refuse a training that cannot be done before there is a cut to be trained.

    Raises:
        InputError: no data, a dry run, no such device, several processes, or what `check_training` refuses.
    """
    if settings.recipe is None:
        return
    if settings.data is None:
        raise InputError("Training takes samples; name a folder of images or an .npz file with --data.")
    if settings.dry_run:
        raise InputError("A plan has no training in it; leave out --dry-run, or the training and train the result.")
    check_training(settings.recipe, model.graph)
    from onnxprune.finetune.training.processes import find_device, started

    find_device(settings.device)
    if started() > 1:
        raise InputError("Several processes only train, with `onnxprune finetune`; start this without torchrun.")


def retrain(job: Job, restored: Restored, gauge: Gauge, staging: Staging) -> Restored:
    """Train a staged cut on the calibration samples, and put the result in its place.

    Raises:
        InputError: the model cannot be trained.
        VerificationError: the runtime computes something else than what was trained.
    """
    settings, data = job.settings, job.required_samples.calibration
    if settings.recipe is None:
        raise InputError("There is no recipe to train by.")
    from onnxprune.finetune.training.processes import Processes, find_device, limited_threads

    cut, written = restored.cut, settings.written
    before = measured_step(restored.last or CUT, cut, gauge, staging.folder(written))
    training, validation = split(data, VALIDATION, settings.seed)
    with limited_threads(settings.threads):
        trained, proto, weights = tune(
            read_graph(cut.model, cut.weights),
            training,
            validation,
            job.model.graph if settings.teacher is None else load(settings.teacher).graph,
            settings.recipe,
            Processes(0, 1, find_device(settings.device)),
            track=job.track,
            watch=settings.watch,
        )

    def check(stored: onnx.ModelProto, values: Weights) -> None:
        session = open_session(stored, values, name="the trained model", threads=settings.threads)
        check_trained(trained, session, data)

    placed = put_in_place(cut, proto, weights, written, staging, check)
    note = (
        f"Trained for {settings.recipe.epochs} epochs on {len(training)} samples; the weights "
        f"are those of epoch {trained.best.number}, the best on {len(validation)} others."
    )
    ended = (trained.ended,) if trained.ended else ()
    return replace(
        restored,
        cut=placed,
        steps=(*restored.steps, before),
        last=TRAINED,
        notes=(*restored.notes, note, *ended),
    )
