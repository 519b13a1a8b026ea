"""The stages as functions: load, inspect, collect, score, plan, apply, verify, recover, save."""

import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from onnxprune import __version__
from onnxprune.analysis.analyse import Analysis, analyse, counts
from onnxprune.analysis.head import class_axis, head_obstacle
from onnxprune.calibration.collect import collect as collect_statistics
from onnxprune.data import Dataset, take
from onnxprune.errors import InputError, UnreachableError, VerificationError
from onnxprune.graph.checking import check_structure
from onnxprune.graph.inlining import inlined
from onnxprune.graph.loading import open_model
from onnxprune.graph.measures import count_params, digest, file_size
from onnxprune.graph.model import Graph, read_graph
from onnxprune.graph.outputs import data_names
from onnxprune.graph.saving import write_model
from onnxprune.graph.weights import Weights
from onnxprune.graph.writing import Staging, explained
from onnxprune.importance.checking import check_scores
from onnxprune.importance.method import Method, find_method
from onnxprune.pipeline.choosing import ROUND_TO, Budget, Wish, choose_widths, policy_of, refuse_unreachable
from onnxprune.recovery.recovery import steps
from onnxprune.recovery.run import obstacle, recover_steps
from onnxprune.recovery.samples import SAMPLES
from onnxprune.runtime import open_session
from onnxprune.selection.loss import loss_curves
from onnxprune.selection.masks import keep_best
from onnxprune.selection.steering import Steering
from onnxprune.surgery.cut import Cut, cut
from onnxprune.values.axes import BoolArray
from onnxprune.values.costs import Kind
from onnxprune.values.plan import GroupPlan, Plan
from onnxprune.values.progress import Track, silent
from onnxprune.values.statistics import COARSE_MOMENTS, GRADIENTS, Scores, Statistics
from onnxprune.verification.equality import Equality, check_equality
from onnxprune.verification.shaken import shaken_model

VERIFY_SAMPLES = 8
"""Calibration samples on which cut and mask are compared."""


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model: where it came from, what was read of it, and what the user should know of that.

    Of a large model, or one with external data, `proto` holds no heavy weights: they stay in their files.
    """

    path: Path
    proto: onnx.ModelProto
    graph: Graph
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """What tells this model from any other."""
        return digest(self.proto, self.weights)

    @property
    def weights(self) -> Weights:
        """The values that `proto` refers to and does not hold."""
        return self.graph.weights

    @cached_property
    def size(self) -> int:
        """Bytes on disk, data files included."""
        return file_size(self.path, self.weights)


def load(path: Path | str) -> Model:
    """Read a model and its graph. Calls of local functions are written out.

    Raises:
        InputError: it cannot be read.
    """
    whole, weights = open_model(path)
    proto, functions = inlined(whole)
    notes: tuple[str, ...] = ()
    if functions:
        named = ", ".join(functions[:3]) + (" ..." if len(functions) > 3 else "")
        notes = (f"Calls of {len(functions)} local function(s) were written out as their nodes: {named}.",)
    return Model(Path(path), proto, read_graph(proto, weights), notes)


def inspect(model: Model, *, approximate: bool = False, trim_head: bool = False) -> Analysis:
    """Find the channel groups of a model, what is frozen and why, and the costs.

    With `approximate`, groups that a normalisation runs over may be cut as well: their result is not that of zeroing.
    With `trim_head`, the classes of the classifier's output are a group of their own that can be cut, see `plan`.

    Raises:
        UnreachableError: the head is to be trimmed, and this model's cannot be.
    """
    if not trim_head:
        return _with_whole_file(analyse(model.graph, approximate=approximate), model)
    head = class_axis(model.graph)
    analysis = analyse(model.graph, approximate=approximate, head=head)
    obstacle = head_obstacle(analysis.graph, analysis.labelled, analysis.groups, head)
    if obstacle is not None:
        raise UnreachableError(f"The classifier of {model.path.name} cannot be cut to some of its classes: {obstacle}.")
    return _with_whole_file(analysis, model)


def _with_whole_file(analysis: Analysis, model: Model) -> Analysis:
    """Count what no width has a say in: weights that nothing is cut of, and all of the file that is no weight."""
    costs = analysis.costs
    others: dict[Kind, float] = {
        "params": count_params(model.proto) - costs.whole_of("params"),
        "bytes": model.size - costs.whole_of("bytes"),
    }
    return replace(analysis, costs=replace(costs, others=others))


def collect(
    analysis: Analysis,
    dataset: Dataset | None,
    method: str = "entropy",
    options: Mapping[str, Any] | None = None,
    *,
    batch_size: int = 32,
    seed: int = 0,
    track: Track = silent,
    widths: bool = True,
    policy: str | None = None,
) -> Statistics:
    """Gather the statistics that `method` needs over `dataset`, and what the widths under a budget of MACs follow from.

    The latter is left out where there are no data, with `widths` false, and where the policy (the method's own unless
    another is named) goes by something else.

    Raises:
        InputError: the method needs data and there is none.
    """
    chosen = find_method(method)
    settled = chosen.settle(options or {})
    if dataset is None and chosen.needs_data(settled):
        raise InputError(f"Method {method} needs sample data; name a folder with --data.")
    needs = chosen.needs(settled)
    if widths and policy_of(chosen, settled, policy).curves == "losses":
        needs |= {COARSE_MOMENTS}
    found = collect_statistics(analysis, dataset, needs - GRADIENTS, batch_size=batch_size, seed=seed, track=track)
    if not needs & GRADIENTS:
        return found
    require_torch()
    from onnxprune.finetune.gradients import with_gradients

    return with_gradients(found, analysis, dataset, needs & GRADIENTS, batch_size=batch_size, track=track)


def require_torch() -> None:
    """Refuse to go on where torch is not installed.

    Raises:
        InputError: it is not.
    """
    if find_spec("torch") is None:
        raise InputError('This needs torch, which is not installed; pip install "onnxprune[torch]".')


def score(
    analysis: Analysis,
    statistics: Statistics,
    method: str = "entropy",
    options: Mapping[str, Any] | None = None,
    *,
    policy: str | None = None,
    seed: int = 0,
) -> Scores:
    """Score every channel of every prunable group: higher = keep. Where the statistics allow it, curves come with them.

    Raises:
        InputError: the statistics do not suit the method, or a method of another package returns no sound scores.
    """
    chosen = find_method(method)
    settled = chosen.settle(options or {})
    found = chosen.score(analysis.prunable, statistics, settled, np.random.default_rng(seed))
    gains = chosen.policy(settled) == "greedy"
    check_scores(found, analysis.prunable, f"Method {method}", curves=gains)
    losses = policy_of(chosen, settled, policy).curves == "losses"
    return replace(found, curves=loss_curves(analysis.prunable, found, statistics.consumers)) if losses else found


def plan(
    model: Model,
    analysis: Analysis,
    scores: Scores,
    budget: Budget,
    method: str | Method = "entropy",
    options: Mapping[str, Any] | None = None,
    *,
    round_to: int = ROUND_TO,
    outputs: Sequence[int] = (),
    steering: Steering | None = None,
    policy: str | None = None,
    seed: int = 0,
    data: Mapping[str, Any] | None = None,
) -> Plan:
    """Choose what goes, within the budgets and what `steering` says of single groups.

    Of a classifier whose head was opened by `inspect`, only the classes `outputs` stay (none given: all).

    Raises:
        InputError: a budget out of range, or none where the method has no rule of its own.
        UnreachableError: a budget that cannot be met, or nothing to prune.
    """
    chosen = find_method(method) if isinstance(method, str) else method
    settled = chosen.settle(options or {})
    wish = Wish(budget, round_to, policy, steering or Steering())
    keep = choose(analysis, scores, wish, chosen, settled, outputs)
    return plan_of_masks(model, analysis, keep, chosen.name, settled, request=wish.to_json(), seed=seed, data=data)


def choose(
    analysis: Analysis,
    scores: Scores,
    wish: Wish,
    method: Method,
    options: Mapping[str, Any],
    outputs: Sequence[int] = (),
    most: Mapping[str, int] | None = None,
) -> dict[str, BoolArray]:
    """Return the keep masks of all groups that may be cut; arguments and errors as `plan` and `choose_widths`."""
    classes = class_masks(analysis, outputs)
    refuse_unreachable(analysis, wish, counts(classes))
    kept = choose_widths(analysis, scores, wish, method, options, counts(classes), most)
    return {**keep_best(scores, kept), **classes}


def class_masks(analysis: Analysis, outputs: Sequence[int]) -> dict[str, BoolArray]:
    """Return the keep mask of the classifier's group that leaves the classes `outputs`; nothing without an open head.

    Raises:
        InputError: there is no such output.
    """
    group = analysis.classes
    if group is None or not outputs:
        return {}
    if not 0 <= min(outputs) <= max(outputs) < group.size:
        raise InputError(f"The classifier has outputs 0 to {group.size - 1}, not {', '.join(map(str, outputs))}.")
    (place,) = [member.positions[:, 0] for member in group.members if member.axis == analysis.head]
    return {group.name: np.isin(place, outputs)}


def plan_of_masks(
    model: Model,
    analysis: Analysis,
    keep: Mapping[str, BoolArray],
    method: str,
    options: Mapping[str, Any],
    *,
    request: Mapping[str, Any] | None = None,
    seed: int = 0,
    data: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the plan that keeps what `keep` says, by group: [channels], True = kept. Others stay whole."""
    keep = {group.name: keep.get(group.name, np.ones(group.size, dtype=bool)) for group in analysis.free}
    kept, costs = counts(keep), analysis.costs
    groups = {
        group.name: GroupPlan(group.size, tuple(int(c) for c in np.flatnonzero(~keep[group.name])), group.layers)
        for group in analysis.free
    }
    channels = sum(group.size for group in analysis.prunable)
    return Plan(
        model=model.path.name,
        digest=model.digest,
        method=method,
        options=options,
        request={
            **(request or {}),
            **({"allow": "approximate"} if analysis.approximate else {}),
            **({"trim_head": True} if analysis.classes is not None else {}),
        },
        reached={
            "macs": analysis.macs(keep) / analysis.macs() if analysis.macs() else 1.0,
            "params": analysis.params(keep) / analysis.params() if analysis.params() else 1.0,
            "channels": sum(kept[group.name] for group in analysis.prunable) / channels if channels else 1.0,
            **({"latency": costs.cost_at("latency", kept) / costs.whole_of("latency")} if costs.clock else {}),
        },
        groups=groups,
        frozen={group.name: group.frozen for group in analysis.groups if group.frozen},
        seed=seed,
        versions=versions(),
        data=data or {},
    )


def versions() -> dict[str, str]:
    """Return the versions of this program and of what its results depend on."""
    packages = ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy", "scipy")
    own = {"onnxprune": __version__, "python": platform.python_version()}
    return {**own, **{name: version(name) for name in packages}}


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


def recovery_settings(name: str) -> dict[str, Any]:
    """Return what a plan records of a recovery; nothing for `none`.

    Raises:
        InputError: there is no such recovery.
    """
    return {"name": name, "samples": SAMPLES} if steps(name) else {}


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


def save(result: Cut, path: Path | str) -> None:
    """Write a cut model, with its data files beside it where the original has such, in one step.

    Raises:
        InputError: it cannot be written there.
    """
    path = Path(path)
    with Staging() as staging:
        stage(result, path, staging)
        staging.commit(last=path)


def stage(
    result: Cut,
    path: Path,
    staging: Staging,
    taken: Collection[Path] = (),
    names: Mapping[str, str] | None = None,
) -> Cut:
    """Make the files of a cut model that is to be put at `path` and return the cut as it is read back from them.

    Its data files get `names` (location -> location), else such as no other file has, `taken` among them.

    Raises:
        InputError: they cannot be made.
    """
    temporary = staging.folder(path) / path.name
    if names is None:
        names = data_names(result.model, result.weights, path, taken)
    with explained(path):
        write_model(result.model, result.weights, temporary, names)
    return result.stored(*open_model(temporary))


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


@contextmanager
def on_disk(
    model: onnx.ModelProto, weights: Weights, scratch: Path | None
) -> Iterator[tuple[onnx.ModelProto, Weights]]:
    """Have a model with all its weights in files: the runtime maps these, whereas values in memory would be copied."""
    if not weights.changed:
        yield model, weights
        return
    with TemporaryDirectory(dir=scratch, prefix="onnxprune-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "onnxprune-scratch.onnx"
        with explained(path):
            write_model(model, weights, path)
        yield open_model(path)


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
