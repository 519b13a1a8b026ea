"""Training within a run: the recovered cut learns from the original's answers and the labels before it is measured."""

from dataclasses import replace

import onnx

from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model, load
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.weights import Weights
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.execution.cut import PrunedModel
from onnxprune.pipeline.execution.recover import measured_step
from onnxprune.pipeline.execution.store import put_in_place
from onnxprune.pipeline.execution.training import TrainingWatch, check_trained, check_training, tune
from onnxprune.runtime import open_session
from onnxprune.values.outcome import CUT, AfterStep

TRAINED = "training"
"""The step's name in the report."""


def check_retraining(config: PruneConfig, model: Model) -> None:
    """Refuse a training that cannot be done before there is a cut to be trained.

    Raises:
        InputError: no such device, several processes, or what `check_training` refuses.
    """
    if config.recipe is None:
        return
    check_training(config.recipe, model.graph)
    from onnxprune.finetune.training.processes import find_device, started

    find_device(config.device)
    if started() > 1:
        raise InputError(
            "Several processes only train, with `onnxprune finetune`; start this without torchrun.", "bad-usage"
        )


def retrain(run: Run, pruned: PrunedModel) -> PrunedModel:
    """Train a staged cut on the calibration samples, and put the result in its place; where it is asked for.

    Raises:
        InputError: the model cannot be trained.
        VerificationError: the runtime computes something else than what was trained.
    """
    config, recipe = run.config, run.config.recipe
    if recipe is None or run.samples is None:
        return pruned
    run.begin("training")
    run.working("Training")
    from onnxprune.finetune.training.processes import Processes, find_device, limited_threads

    cut, data = pruned.cut, run.samples.calibration
    known = next((step for step in pruned.steps if step.name == pruned.last), AfterStep(CUT))
    before = replace(measured_step(run, known.name, cut), error=known.error, taken=True)
    training, validation = run.samples.fit, run.samples.judge
    with limited_threads(config.threads):
        trained, proto, weights = tune(
            read_graph(cut.model, cut.weights),
            training,
            validation,
            run.model.graph if config.teacher is None else load(config.teacher).graph,
            recipe,
            Processes(0, 1, find_device(config.device)),
            track=run.listener.track,
            watch=TrainingWatch(run.listener, recipe.epochs),
        )

    def check(stored: onnx.ModelProto, values: Weights) -> None:
        session = open_session(stored, values, name="the trained model", threads=config.threads)
        check_trained(trained, session, data)

    placed = put_in_place(cut, proto, weights, config.written, run.staging, check)
    note = (
        f"Trained for {recipe.epochs} epochs on {len(training)} samples; the weights "
        f"are those of epoch {trained.best.number}, the best on {len(validation)} others."
    )
    ended = (trained.ended,) if trained.ended else ()
    return replace(
        pruned,
        cut=placed,
        steps=(*(step for step in pruned.steps if step.name != before.name), before, AfterStep(TRAINED, taken=True)),
        last=TRAINED,
        notes=(*pruned.notes, note, *ended),
    )
