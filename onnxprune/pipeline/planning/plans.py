"""From scores to keep masks, and from keep masks to a plan."""

import platform
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from onnxprune._version import __version__
from onnxprune.analysis.analysis import Analysis, counts
from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model
from onnxprune.importance import DEFAULT_METHOD
from onnxprune.importance.method import Method, find_method
from onnxprune.pipeline.planning.widths import choose_widths, refuse_unreachable
from onnxprune.recovery.recovery import steps
from onnxprune.selection.budget import Budget, left_of
from onnxprune.selection.goal import ROUND_TO, Goal
from onnxprune.selection.masks import keep_best
from onnxprune.selection.steering import Steering
from onnxprune.values.axes import BoolArray
from onnxprune.values.branches import left_out
from onnxprune.values.plan import INPUT_SHAPE, GroupPlan, Plan
from onnxprune.values.statistics import Scores


def plan(  # noqa: PLR0913 (every setting has its default)
    model: Model,
    analysis: Analysis,
    scores: Scores,
    budget: Budget,
    method: str | Method = DEFAULT_METHOD,
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

    Args:
        model: what is to be cut, see `load`.
        analysis: of the model, see `inspect`.
        scores: by group, [channels] and more where widths follow from curves, see `score`.
        budget: how much may be left; nothing: the method's own threshold decides.
        method: that made the scores, by name.
        options: the method's settings.
        round_to: multiples of channels that widths are rounded to.
        outputs: the classes that stay, by number, of a classifier whose head was opened by `inspect`; none: all.
        steering: what is said of single groups.
        policy: how the budget is shared out over the groups, by name; None: as the method says.
        seed: of all chance, which the plan records.
        data: what the plan records of the samples.

    Raises:
        InputError: a budget out of range, or none where the method has no rule of its own.
        UnreachableError: a budget that cannot be met, or nothing to prune.

    Example:
        >>> import onnxprune
        >>> model = onnxprune.load("sample_models/digits_convnet.onnx")
        >>> analysis = onnxprune.inspect(model)
        >>> scores = onnxprune.score(analysis, onnxprune.collect(analysis, None, "l1"), "l1")
        >>> plan = onnxprune.plan(model, analysis, scores, onnxprune.Budget(macs=0.5), "l1")
        >>> plan.reached["macs"] <= 0.5
        True
    """
    chosen = find_method(method) if isinstance(method, str) else method
    settled = chosen.settle(options or {})
    goal = Goal(budget, round_to, policy, steering or Steering(), branches="never")
    refuse_unreachable(analysis, goal, counts(class_masks(analysis, outputs)))
    keep = choose(analysis, scores, goal, chosen, settled, outputs)
    return plan_of_masks(model, analysis, keep, chosen.name, settled, request=goal.to_json(), seed=seed, data=data)


def choose(  # noqa: PLR0913 (a ranking, and what it is cut by)
    analysis: Analysis,
    scores: Scores,
    goal: Goal,
    method: Method,
    options: Mapping[str, Any],
    outputs: Sequence[int] = (),
    most: Mapping[str, int] | None = None,
    gone: Collection[str] = (),
) -> dict[str, BoolArray]:
    """Return the keep masks of all groups that may be cut; `gone` are those of branches that are left out.

    Arguments and errors as `plan` and `choose_widths`.
    """
    given = {**class_masks(analysis, outputs), **analysis.emptied(gone)}
    kept = choose_widths(analysis, scores, goal, method, options, counts(given), most)
    return {**keep_best(scores, kept), **given}


def class_masks(analysis: Analysis, outputs: Sequence[int]) -> dict[str, BoolArray]:
    """Return the keep mask of the classifier's group that leaves the classes `outputs`; nothing without an open head.

    Raises:
        InputError: there is no such output.
    """
    group = analysis.classes
    if group is None or not outputs:
        return {}
    if not 0 <= min(outputs) <= max(outputs) < group.size:
        raise InputError(
            f"The classifier has outputs 0 to {group.size - 1}, not {', '.join(map(str, outputs))}.", "bad-value"
        )
    (place,) = [member.positions[:, 0] for member in group.members if member.axis == analysis.head]
    return {group.name: np.isin(place, outputs)}


def plan_of_masks(  # noqa: PLR0913 (every setting has its default)
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
            **({"allow": ", ".join(analysis.allowed)} if analysis.allowed else {}),
            **({"trim_head": True} if analysis.classes is not None else {}),
            **({INPUT_SHAPE: {name: list(shape) for name, shape in model.shapes.items()}} if model.shapes else {}),
        },
        reached={
            "macs": analysis.macs(keep) / analysis.macs() if analysis.macs() else 1.0,
            "params": analysis.params(keep) / analysis.params() if analysis.params() else 1.0,
            "channels": sum(kept[group.name] for group in analysis.prunable) / channels if channels else 1.0,
            **({"latency": costs.cost_at("latency", kept) / costs.whole_of("latency")} if costs.latency_model else {}),
            **left_of((request or {}).get("budgets", ()), costs, kept),
        },
        groups=groups,
        frozen={group.name: group.frozen for group in analysis.groups if group.frozen},
        seed=seed,
        branches=analysis.titles(left_out(analysis.branches, keep)),
        versions=versions(),
        data=data or {},
        arrangement=model.arrangement,
    )


def versions() -> dict[str, str]:
    """Return the versions of this program and of what its results depend on."""
    packages = ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy", "scipy")
    own = {"onnxprune": __version__, "python": platform.python_version()}
    return {**own, **{name: version(name) for name in packages}}


def recovery_settings(name: str, samples: int = 0) -> dict[str, Any]:
    """Return what a plan records of a recovery with so many samples to fit to, 0 where there were none yet.

    Raises:
        InputError: there is no such recovery.
    """
    return {"name": name, **({"samples": samples} if samples else {})} if steps(name) else {}
