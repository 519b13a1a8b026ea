"""Cutting a model by a plan, and checking that cut equals mask."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxprune._version import __version__
from onnxprune.analysis.analyse import analyse
from onnxprune.analysis.analysis import Analysis, counts
from onnxprune.data import Dataset, take
from onnxprune.errors import InputError, VerificationError
from onnxprune.graph.checking import check_structure
from onnxprune.graph.loaded import Model
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.graph.storage.metadata import CLASSES, PROOF, interface_of
from onnxprune.graph.storage.paths import data_names
from onnxprune.graph.storage.staging import with_metadata
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.execution.store import relabelled, stage
from onnxprune.pipeline.planned import Planned
from onnxprune.recovery.run import obstacle
from onnxprune.runtime import open_session
from onnxprune.surgery.cut import Cut, cut
from onnxprune.values.equality import Equality
from onnxprune.values.opinion import Opinion
from onnxprune.values.outcome import AfterStep
from onnxprune.values.plan import Plan
from onnxprune.verification.equality import check_equality, odd_outputs
from onnxprune.verification.perturbed import perturbed_model
from onnxprune.verification.second_opinion import confirm_written, second_opinion

VERIFY_SAMPLES = 8
"""Calibration samples on which cut and mask are compared."""


@dataclass(frozen=True, eq=False)
class PrunedModel:
    """A cut on its way to the result.

    Attributes:
        cut: the model as it is by now; its values are in the files that will be the result.
        planned: what it was cut by.
        equality: what the check of the cut against the mask found.
        opinion: what another runtime said of it, if it was asked.
        recovers: whether its weights are recovered.
        steps: how good it was after every step but the last.
        last: the last step's name; empty: the cut.
        notes: what the user should know.
    """

    cut: Cut
    planned: Planned
    equality: Equality
    opinion: Opinion | None = None
    recovers: bool = False
    steps: tuple[AfterStep, ...] = ()
    last: str = ""
    notes: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        """What it was cut by."""
        return self.planned.plan


def cut_and_verify(run: Run, planned: Planned) -> PrunedModel:
    """Cut the model by a plan, stage the result, and check that cut equals mask.

    Raises:
        InputError: the plan is of another model, or a file cannot be written.
        VerificationError: the cut model is not the masked original.
    """
    config, model, plan = run.config, run.model, planned.plan
    run.begin("checking")
    run.working("Checking that cut equals mask")
    reason = _why_not_recovered(run, plan) if plan.recovery else None
    recovers = bool(plan.recovery) and reason is None
    plan = plan if recovers or planned.replayed else replace(plan, recovery={})  # it says what was done
    cut, plan = apply(model, run.analysis, plan)
    news = (*_head_notes(run.analysis, plan), *_state_notes(cut), *map(_library_note, config.custom_ops))
    notes = (*planned.notes, *news, *([] if reason is None else [reason]))
    with_metadata(cut.model, _metadata(plan))
    # From here on the values that the cut made are in the files that will be the result, and no more in memory.
    outputs = {**config.outputs, "the model": None, **({"the plan": None} if planned.replayed else {})}
    beside = [path for path in outputs.values() if path is not None]
    names = data_names(cut.model, cut.weights, config.written, beside, config.inputs)
    cut = stage(cut, config.written, run.staging, names if run.state is None else run.state.data_files(names))
    data = None if run.samples is None else run.samples.calibration
    folder = run.staging.folder(config.written)
    equality = verify(model, run.analysis, cut, data, seed=config.seed, scratch=folder)
    if config.require_proof and equality.proof == "unproven":
        raise VerificationError(
            "On these inputs no tensor tells a cut model from an uncut one, so that nothing shows that the cut is "
            "right, as --require-proof asks; nothing was written. Give other samples with --data.",
            "unproven",
        )
    opinion = None if config.oracle is None else _asked(run, config.oracle, cut, equality)
    said = onnx.ModelProto()
    said.CopyFrom(cut.model)
    with_metadata(said, {PROOF: equality.proof})
    cut = relabelled(cut, said, config.written, run.staging)
    plan = plan if planned.replayed else replace(plan, proof=equality.proof)
    return PrunedModel(cut, replace(planned, plan=plan), equality, opinion, recovers, notes=notes)


def _asked(run: Run, oracle: str, cut: Cut, equality: Equality) -> Opinion:
    """Return what another runtime says of a staged cut.

    Raises:
        As `second_opinion`.
    """
    run.working(f"Asking {oracle}")
    stored = StoredModel(cut.model, cut.weights)
    return second_opinion(oracle, run.analysis, stored, cut.masks, cut.branches, feeds_of(run), equality)


def confirmed(run: Run, pruned: PrunedModel) -> PrunedModel:
    """Have another runtime run the model that will be written, where one was asked about the cut.

    Raises:
        As `confirm_written`.
    """
    if pruned.opinion is None:
        return pruned
    stored = StoredModel(pruned.cut.model, pruned.cut.weights)
    worst = confirm_written(pruned.opinion.oracle, stored, feeds_of(run), pruned.opinion.tolerance)
    return replace(pruned, opinion=replace(pruned.opinion, written=worst))


def feeds_of(run: Run) -> Sequence[dict[str, Any]]:
    """Return the calls that a cut is checked on, by the data of a run where it has some.

    Raises:
        As `verification_feeds`.
    """
    return verification_feeds(run.model, None if run.samples is None else run.samples.calibration, run.config.seed)


def _why_not_recovered(run: Run, plan: Plan) -> str | None:
    """Return the note of why a plan's recovery is left out, or None where it can be done."""
    name = plan.recovery.get("name")
    if run.samples is None:
        return f"Recovery {name} takes sample data, so this is the cut alone; give --data for it."
    reason = obstacle(run.model.graph)
    return None if reason is None else f"Nothing was recovered after the cut: {reason}."


def _head_notes(analysis: Analysis, plan: Plan) -> Iterator[str]:
    """Say what a trimmed classifier was checked against."""
    if analysis.classes is not None and analysis.head is not None:
        alone = ", given to the softmax alone" if analysis.renormalised else ""
        yield (
            f"Output {analysis.head.ref.name!r} has {len(plan.classes)} of its {analysis.classes.size} classes left, "
            f"in their order: {', '.join(plan.classes)}; the mask is the original's scores of these classes{alone}."
        )


def _library_note(library: Path) -> str:
    return f"Operators of {library} were loaded, so its code ran."


def _state_notes(cut: Cut) -> Iterator[str]:
    """Say which inputs and outputs have fewer channels."""
    left = interface_of(cut.model).items()
    said = [f"{name!r} {len(n.kept)} of {n.size} along axis {n.axis}" for name, axes in left for n in axes]
    if said:
        yield f"States have fewer channels at both ends, begin with ones of these sizes: {', '.join(said)}."


def _metadata(plan: Plan) -> dict[str, str]:
    cut = sum(1 for group in plan.groups.values() if group.removed)
    channels = sum(group.size for group in plan.groups.values())
    return {
        "onnxprune.version": __version__,
        "onnxprune.method": plan.method,
        "onnxprune.cut": f"{plan.removed} of {channels} channels in {cut} of {len(plan.groups)} groups",
        "onnxprune.original": plan.digest,
        **({CLASSES: json.dumps(list(plan.classes))} if "trim_head" in plan.request else {}),
        **(
            {"onnxprune.branches": json.dumps({name: len(nodes) for name, nodes in plan.branches.items()})}
            if plan.branches
            else {}
        ),
    }


def apply(model: Model, analysis: Analysis, chosen: Plan) -> tuple[Cut, Plan]:
    """Cut the model by a plan. Returns the cut and the plan with the tensors that had to be copied.

    Args:
        model: what is to be cut, see `load`; it stays as it is.
        analysis: of the model, see `inspect`.
        chosen: the plan, made for this very model.

    Raises:
        InputError: the plan was made for another model, or names groups that this model does not have.
    """
    check_made_for(model, chosen)
    if chosen.arrangement != model.arrangement:
        raise InputError(
            "The plan arranges channels first, which only the command does: onnxprune apply MODEL PLAN.",
            "wrong-model",
        )
    for name, group in chosen.groups.items():
        known = analysis.by_name.get(name)
        if known is None or not known.prunable or known.size != group.size:
            state = "does not exist" if known is None else f"has {known.size} channels, frozen: {known.frozen or 'no'}"
            raise InputError(
                f"The plan cuts group {name!r} of {group.size} channels, which here {state}; make it again.",
                "wrong-model",
            )
    result = cut(analysis, chosen.keep())
    return result, replace(chosen, copies=dict(result.edits.copies), branches=analysis.titles(result.branches))


def check_made_for(model: Model, chosen: Plan) -> None:
    """Refuse a plan of another model.

    Raises:
        InputError: it is one.
    """
    if chosen.digest != model.digest:
        raise InputError(
            f"The plan was made for another model ({chosen.model}, digest {chosen.digest[:12]}...), not for "
            f"{model.path.name} (digest {model.digest[:12]}...); make a plan for this model with --dry-run.",
            "wrong-model",
        )


def verify(
    model: Model,
    analysis: Analysis,
    result: Cut,
    dataset: Dataset | None,
    *,
    seed: int = 0,
    scratch: Path | None = None,
) -> Equality:
    """Check a cut model: valid ONNX, loadable, and equal to the masked original on calibration inputs.

    Args:
        model: the original.
        analysis: of the original.
        result: the cut, see `apply`.
        dataset: the samples to compare on; None: random inputs.
        seed: of these, and of the perturbed weights.
        scratch: the folder for new values of large weights, which the runtime reads from files; None: a temporary one.

    Returns:
        The largest errors that were found, relative to the outputs, and what was compared.

    Raises:
        VerificationError: a check failed; nothing should be written.
    """
    feeds = verification_feeds(model, dataset, seed)
    with on_disk(result.model, result.weights, scratch) as (cut_model, weights):
        check_structure(cut_model, model.proto, weights=weights, original_weights=model.weights)
        try:
            equality = check_equality(analysis, cut_model, result.masks, feeds, weights, result.branches)
        except InputError as error:
            if dataset is not None or error.code != "not-runnable":
                raise
            shapes = ", ".join(f"{name}={','.join(map(str, np.shape(value)))}" for name, value in feeds[0].items())
            raise InputError(
                f"onnxruntime cannot run the model on random inputs of shape {shapes}; give samples with --data, or a "
                f"shape that it takes with --input-shape. It says: {error}",
                "not-runnable",
            ) from error
    if equality.status == "unproven" and (result.masks or result.branches):
        equality = _check_perturbed(analysis, result, feeds, seed, scratch) or equality
    if equality.status == "different":
        odd = odd_outputs(model.graph, feeds)
        if odd:
            where = "the samples" if dataset is not None else "random inputs; give samples with --data"
            raise InputError(
                f"The original's output {odd[0]!r} holds NaN or infinity on {where}, so that the cut cannot be "
                "checked; nothing was written.",
                "not-runnable",
            )
        raise VerificationError(
            f"The cut model does not equal the masked original: {equality.tensor!r} differs by {equality.error:.1e} "
            f"(allowed {equality.tolerance:.1e}); nothing was written, please report this model.",
            "cut-differs",
        )
    return equality


def _check_perturbed(
    analysis: Analysis, result: Cut, feeds: Sequence[dict[str, Any]], seed: int, scratch: Path | None
) -> Equality | None:
    """Make the same cut on perturbed weights, where the removed channels matter; None if that proves nothing either."""
    with on_disk(*perturbed_model(analysis, seed), scratch) as (model, weights):
        perturbed = analyse(
            read_graph(model, weights),
            approximate=analysis.approximate,
            interface=analysis.interface,
            head=analysis.head,
        )
        again = cut(perturbed, result.keep)
        with on_disk(again.model, again.weights, scratch) as (cut_model, cut_weights):
            equality = check_equality(perturbed, cut_model, again.masks, feeds, cut_weights, again.branches)
    return None if equality.status == "unproven" else replace(equality, where="perturbed weights")


def verification_feeds(model: Model, dataset: Dataset | None, seed: int) -> Sequence[dict[str, Any]]:
    """Return the calls that a result is checked on.

    Raises:
        InputError: there is no data, and an input has no known shape to make random samples of.
    """
    if dataset is not None:
        session = open_session(model.proto, model.weights, name=str(model.path), optimization="none", prepack=False)
        some = take(dataset, min(VERIFY_SAMPLES, len(dataset)), seed)
        return [dict(chunk.feeds) for batch in some.batches(VERIFY_SAMPLES) for chunk in session.chunks(batch.feeds)]
    rng = np.random.default_rng(seed)
    feeds = {}
    for spec in model.graph.input_specs:
        pair = model.graph.facts.shape_pair(spec.name)
        if pair is None:
            raise InputError(
                f"Input {spec.name!r} has no known shape to make random samples of; give samples with --data.",
                "no-data",
            )
        nominal = (*pair[1][:1], *pair[0][1:])  # two samples of the nominal size
        value = rng.standard_normal(nominal) if spec.dtype.startswith("float") else np.ones(nominal)
        feeds[spec.name] = value.astype(spec.dtype)
    return [feeds]


def channel_counts(analysis: Analysis, chosen: Plan) -> tuple[int, int]:
    """Return the number of prunable channels before and after a plan."""
    kept = counts(chosen.keep())
    before = sum(group.size for group in analysis.prunable)
    return before, sum(kept.get(group.name, group.size) for group in analysis.prunable)
