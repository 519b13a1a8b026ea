"""Cutting a model by a plan, and checking that cut equals mask."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.analysis.analyse import Analysis, analyse, counts
from onnxprune.data import Dataset, take
from onnxprune.errors import InputError, VerificationError
from onnxprune.graph.checking import check_structure
from onnxprune.graph.loaded import Model
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.runtime import open_session
from onnxprune.surgery.cut import Cut, cut
from onnxprune.values.equality import Equality
from onnxprune.values.plan import Plan
from onnxprune.verification.equality import check_equality
from onnxprune.verification.perturbed import shaken_model

VERIFY_SAMPLES = 8
"""Calibration samples on which cut and mask are compared."""


def apply(model: Model, analysis: Analysis, chosen: Plan) -> tuple[Cut, Plan]:
    """Cut the model by a plan. Returns the cut and the plan with the tensors that had to be copied.

    Raises:
        InputError: the plan was made for another model, or names groups that this model does not have.
    """
    if chosen.digest != model.digest:
        raise InputError(
            f"The plan was made for another model ({chosen.model}, digest {chosen.digest[:12]}...), not for "
            f"{model.path.name} (digest {model.digest[:12]}...); make a plan for this model with --dry-run."
        )
    for name, group in chosen.groups.items():
        known = analysis.by_name.get(name)
        if known is None or not known.prunable or known.size != group.size:
            state = "does not exist" if known is None else f"has {known.size} channels, frozen: {known.frozen or 'no'}"
            raise InputError(
                f"The plan cuts group {name!r} of {group.size} channels, which here {state}; make it again."
            )
    result = cut(analysis, chosen.keep())
    return result, replace(chosen, copies=dict(result.edits.copies))


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

    Without data, seeded random inputs are used. New values of large weights are written to a temporary folder first,
    in `scratch` or where the system has such, as the runtime reads them from files.

    Raises:
        VerificationError: a check failed; nothing should be written.
    """
    feeds = verification_feeds(model, dataset, seed)
    with on_disk(result.model, result.weights, scratch) as (cut_model, weights):
        check_structure(cut_model, model.proto, weights=weights, original_weights=model.weights)
        equality = check_equality(analysis, cut_model, result.masks, feeds, weights)
    if equality.status == "unproven" and result.masks:
        equality = _check_shaken(analysis, result, feeds, seed, scratch) or equality
    if equality.status == "different":
        raise VerificationError(
            f"The cut model does not equal the masked original: {equality.tensor!r} differs by {equality.error:.1e} "
            f"(allowed {equality.tolerance:.1e}); nothing was written, please report this model."
        )
    return equality


def _check_shaken(
    analysis: Analysis, result: Cut, feeds: Sequence[dict[str, Any]], seed: int, scratch: Path | None
) -> Equality | None:
    """Make the same cut on shaken weights, where the removed channels matter; None if that proves nothing either."""
    with on_disk(*shaken_model(analysis, seed), scratch) as (model, weights):
        shaken = analyse(read_graph(model, weights), approximate=analysis.approximate, head=analysis.head)
        again = cut(shaken, result.keep)
        with on_disk(again.model, again.weights, scratch) as (cut_model, cut_weights):
            equality = check_equality(shaken, cut_model, again.masks, feeds, cut_weights)
    return None if equality.status == "unproven" else replace(equality, where="shaken weights")


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
        nominal = model.graph.facts.shapes[1].get(spec.name)
        if nominal is None:
            raise InputError(
                f"Input {spec.name!r} has no known shape to make random samples of; give samples with --data."
            )
        value = rng.standard_normal(nominal) if spec.dtype.startswith("float") else np.ones(nominal)
        feeds[spec.name] = value.astype(spec.dtype)
    return [feeds]


def channel_counts(analysis: Analysis, chosen: Plan) -> tuple[int, int]:
    """Return the number of prunable channels before and after a plan."""
    kept = counts(chosen.keep())
    before = sum(group.size for group in analysis.prunable)
    return before, sum(kept.get(group.name, group.size) for group in analysis.prunable)
