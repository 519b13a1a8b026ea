"""Recovery within a run: what the plan asks for, what stands in its way, and putting the new weights in place."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from onnxprune.data import Dataset
from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.staging import Staging, explained
from onnxprune.graph.storage.weights import Weights
from onnxprune.pipeline.context import Job
from onnxprune.pipeline.execution.cut import verification_feeds
from onnxprune.pipeline.execution.evaluate import Gauge
from onnxprune.recovery.recovery import steps
from onnxprune.recovery.run import RecoveryStep, obstacle, recover_steps
from onnxprune.recovery.samples import SAMPLES
from onnxprune.runtime import open_session
from onnxprune.surgery.cut import Cut, cut
from onnxprune.values.axes import BoolArray
from onnxprune.values.outcome import CUT, AfterStep
from onnxprune.values.plan import Plan
from onnxprune.verification.recovered import check_recovered


@dataclass(frozen=True, eq=False)
class Restored:
    """A recovered cut, its quality after every step but the last, and what the user should know."""

    cut: Cut
    steps: tuple[AfterStep, ...] = ()
    last: str = ""
    notes: tuple[str, ...] = ()


def recovered_cut(job: Job, keep: Mapping[str, BoolArray]) -> Cut:
    """Cut the original and recover it in memory as the final result will be, as far as that goes, unchecked."""
    graph, name, result = job.model.graph, job.settings.recovery, cut(job.analysis, keep)
    if job.samples is None or not steps(name) or obstacle(graph) is not None:
        return result
    data, seed = job.samples.calibration, job.settings.seed
    with suppress(InputError):  # what cannot be run piece by piece stays as it is by then, as the final result will
        for step in recover_steps(graph, result, data, name, samples=SAMPLES, seed=seed):
            result = step.cut
    return result


def why_not(job: Job, chosen: Plan) -> str | None:
    """Return the note of why a plan's recovery is left out, or None where it can be done."""
    name = chosen.recovery.get("name")
    if job.samples is None:
        return f"Recovery {name} takes sample data, so this is the cut alone; give --data for it."
    reason = obstacle(job.model.graph)
    return None if reason is None else f"Nothing was recovered after the cut: {reason}."


def restore(job: Job, cut: Cut, chosen: Plan, gauge: Gauge, staging: Staging) -> Restored:
    """Recover a staged cut by the plan, check the result, and put it in the place of the cut.

    Raises:
        InputError: an unknown recovery, or a file cannot be written.
        VerificationError: the recovered model is not the cut with new weights.
    """
    steps(str(chosen.recovery["name"]))
    folder = staging.folder(job.settings.written)
    data = job.required_samples.calibration
    measured: list[AfterStep] = []
    notes: list[str] = []
    last: RecoveryStep | None = None
    current = cut
    for step in _tried(job.model, cut, chosen, data, notes):
        measured.append(measured_step(CUT if last is None else last.name, current, gauge, folder))
        last, current = step, step.cut
        notes += [f"{step.name} moved the outputs away from the original's, so it was undone."] * step.dropped
    if last is None:
        return Restored(cut, notes=tuple(notes))
    if chosen.data and data.digest() != chosen.data.get("digest"):
        notes.append("The weights were recovered with other data than the plan's scores were computed from.")
    placed = _replace(job, cut, last, staging, chosen.seed)
    return Restored(placed, tuple(measured), last.name, (_summary(last, len(data)), *notes))


def _tried(model: Model, cut: Cut, chosen: Plan, data: Dataset, notes: list[str]) -> Iterator[RecoveryStep]:
    """Yield the steps as far as they come: a model that the runtime cannot run piece by piece is still a good cut."""
    name, samples = str(chosen.recovery["name"]), int(chosen.recovery["samples"])
    try:
        yield from recover_steps(model.graph, cut, data, name, samples=samples, seed=chosen.seed)
    except InputError as error:
        notes.append(f"Recovery {name} stopped where it was: {error}")


def measured_step(name: str, cut: Cut, gauge: Gauge, folder: Path) -> AfterStep:
    """Measure a cut as it is after the step `name`."""
    with on_disk(cut.model, cut.weights, folder) as (proto, weights):
        return gauge.quality(open_session(proto, weights, name="the pruned model")).as_step(name)


def _replace(job: Job, cut: Cut, step: RecoveryStep, staging: Staging, seed: int) -> Cut:
    """Write the recovered model beside the cut, check the one against the other, and move it into the cut's place."""

    def check(recovered: onnx.ModelProto, weights: Weights) -> None:
        feeds = verification_feeds(job.model, job.required_samples.calibration, seed)
        check_recovered(cut.model, recovered, step.changed, feeds, cut_weights=cut.weights, weights=weights)

    return put_in_place(cut, step.cut.model, step.cut.weights, job.settings.written, staging, check)


def put_in_place(
    cut: Cut,
    proto: onnx.ModelProto,
    weights: Weights,
    path: Path,
    staging: Staging,
    check: Callable[[onnx.ModelProto, Weights], None],
) -> Cut:
    """Put a model with other weights in the place of a staged cut, if `check` lets it pass as it is read back.

    Files that are mapped are not written over: the cut goes on reading its own until it is let go of.
    """
    folder = staging.folder(path)
    with TemporaryDirectory(dir=folder, prefix="onnxprune-", ignore_cleanup_errors=True) as temporary:
        scratch = Path(temporary)
        with explained(path):
            write_model(proto, weights, scratch / path.name)
        check(*open_model(scratch / path.name))
        with explained(path):
            for file in [file for file in scratch.rglob("*") if file.is_file()]:
                file.replace(folder / file.relative_to(scratch))
    return cut.stored(*open_model(folder / path.name))


def _summary(step: RecoveryStep, available: int) -> str:
    """Return how much was recovered, and what was left as it is."""
    few = f"{step.samples} of {available} samples" if step.samples < available else f"{step.samples} samples"
    text = f"Recovery {step.name} gave new weights to {step.solved} layers, from {few}"
    if not step.skipped:
        return f"{text}."
    reasons: dict[str, list[str]] = {}
    for name, reason in step.skipped.items():
        reasons.setdefault(reason, []).append(name)
    left = "; ".join(f"{_named(names)}: {reason}" for reason, names in reasons.items())
    return f"{text}, and left others as they are ({left})."


def _named(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else f"{names[0]!r} and {len(names) - 1} more"


def recover(
    model: Model, result: Cut, dataset: Dataset, recovery: str = "refit", *, samples: int = SAMPLES, seed: int = 0
) -> Cut:
    """Give a cut model new weights, in closed form, so that it computes what the original does on `dataset`.

    At most `samples` samples are used, fewer where their activations would take more than a gigabyte.

    Raises:
        InputError: an unknown recovery, or a model whose weights cannot be recovered (quantized, or too large).
    """
    reason = obstacle(model.graph)
    if reason is not None and steps(recovery):
        raise InputError(f"Nothing can be recovered in {model.path.name}: {reason}.")
    for step in recover_steps(model.graph, result, dataset, recovery, samples=samples, seed=seed):
        result = step.cut
    return result
