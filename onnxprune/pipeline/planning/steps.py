"""Choosing what goes in several steps: each looks at the network that the steps before it have left.

A step cuts the original by all that went so far, gives it new weights, gathers statistics on that network, and chooses
the next part. Its scores are carried back to the channels of the original, so that widths, floors, blocks and costs are
the original's throughout and the masks of all steps make one plan.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from onnxprune.analysis.analysis import Analysis, Labelling, counts
from onnxprune.analysis.inspect import inspect
from onnxprune.errors import UnreachableError
from onnxprune.graph.loaded import Model
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.events import Resumed
from onnxprune.pipeline.planning.plans import choose
from onnxprune.pipeline.planning.scoring import gather, rank
from onnxprune.pipeline.planning.sensitivity import with_sensitivity
from onnxprune.pipeline.planning.trial_cut import recovered_cut
from onnxprune.pipeline.planning.widths import policy_of
from onnxprune.pipeline.state import Progress
from onnxprune.values.amount import percent
from onnxprune.values.axes import BoolArray, IntArray
from onnxprune.values.statistics import Scores

Keep = Mapping[str, BoolArray]
Origins = Mapping[str, tuple[str, IntArray]]
"""Group of a cut network -> the group of the original that it is, and which of its channels, [channels]."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The keep masks of the original's groups, the scores that they come from, and what the user should know.

    A run that went on from its last step has computed no scores.
    """

    keep: Keep
    scores: Scores | None
    notes: tuple[str, ...]


def choose_in_steps(run: Run, first: Scores | None = None, gone: Collection[str] = ()) -> Chosen:
    """Score and choose as often as the configuration says, on the recovered network after the first time.

    `first` are the scores of the first step, where they are known already; `gone` the groups of branches that are left
    out, which takes a single step. Where the run keeps its state, the steps that it has are not done again, and every
    other one is added to it.

    Raises:
        InputError: as the stages.
        UnreachableError: a budget that cannot be met, or a cut network with other groups than the original.
    """
    analysis, config, outputs = run.analysis, run.config, run.class_outputs
    total, whole = config.steps, run.goal.budget.in_shares(analysis.costs)
    state = Progress({group.name: np.ones(group.size, dtype=bool) for group in analysis.free})
    kept = run.state
    if kept is not None and kept.begun is not None:
        state = kept.begun
        run.listener.hear(Resumed(f"Going on after step {state.done} of {total}."))
    scores: Scores | None = None
    while state.done < total and not (state.converged and run.goal.budget.is_own_rule):
        if scores is None or not state.converged:  # where nothing went, the network is the one that was scored last
            known = first if not state.removed_channels else None
            scores = known or _scores_after(run, state)
        goal = replace(run.goal, budget=whole.part((state.done + 1) / total))
        ranking = (run.method.method, run.method.options, outputs)
        keep = choose(analysis, scores, goal, *ranking, most=counts(state.keep), gone=gone)
        left = analysis.macs(keep) / analysis.macs() if analysis.macs() else 1.0
        state = state.after(keep, left, scores.notes)
        if kept is not None:
            kept.save(state)
    return Chosen(state.keep, scores, (*state.notes, *_summary(state, total)))


def _summary(state: Progress, total: int) -> Iterator[str]:
    """Say what each step left, where there were several."""
    if total > 1:
        shares = ", ".join(percent(share) for share in state.left)
        yield f"Chosen in {state.done} of {total} steps, which left {shares} of the MACs, one after the other."


def _scores_after(run: Run, state: Progress) -> Scores:
    """Score the network as the steps so far have left it; what comes back are scores of the original's channels."""
    if not state.removed_channels:
        return scored(run)
    run.working(f"Step {state.done + 1} of {run.config.steps}: cutting and recovering")
    with _cut_network(run, state.keep) as (present, origins):
        found = scored(replace(run, analysis=present))
    return carried_back(found, origins, state.keep)


def origins_of(whole: Analysis, keep: Keep, present: Analysis) -> Origins:
    """Find out which channels of the original those of the cut network are, by their places on the tensors.

    Groups that the cut network alone has, such as queries whose keys are down to one head, are left out.

    Raises:
        UnreachableError: a group of the original that has channels left is none of the cut network.
    """
    masks = whole.axis_masks(keep)
    known = [(labelling, *_owners(whole, labelling)) for labelling in whole.labellings]
    found: dict[str, tuple[str, IntArray]] = {}
    for group in present.free:
        member = group.members[0]
        for labelling, owner, channel in known:
            if member.axis not in labelling.components.index:
                continue
            labels = labelling.components.labels(member.axis)
            kept = np.flatnonzero(masks.get(member.axis, np.ones(len(labels), dtype=bool)))
            if member.positions.max() >= len(kept):
                continue
            components = labels[kept[member.positions]]
            original, channels = whole.free[owner[components[0, 0]]], channel[components[:, 0]]
            same = owner[components[0, 0]] >= 0 and (components == components[:, :1]).all()
            if same and np.array_equal(np.sort(channels), np.flatnonzero(keep[original.name])):
                found[group.name] = (original.name, channels)
    covered = {name for name, _ in found.values()}
    for group in whole.free:
        if group.name not in covered and keep[group.name].sum() > 1:
            raise UnreachableError(_other_groups(group.name), "other-groups")
    return found


def _owners(whole: Analysis, labelling: Labelling) -> tuple[IntArray, IntArray]:
    """Return by component of a labelling the number of its group among those that are free (-1: none), and channel."""
    owner = np.full(labelling.components.count, -1, dtype=np.int64)
    channel = np.zeros(labelling.components.count, dtype=np.int64)
    for number, group in enumerate(whole.free):
        if group.name in labelling.groups:
            components = labelling.channels(group)
            owner[components], channel[components] = number, np.arange(group.size)
    return owner, channel


def _other_groups(name: str) -> str:
    return f"The cut network has other channel groups than the original (see {name!r}), so use --steps 1."


def carried_back(scores: Scores, origins: Origins, keep: Keep) -> Scores:
    """Return scores of a cut network as scores of the original: what went is worst of all, and never comes back.

    A group with one channel left has none to lose, so nobody scored it.
    """
    values = {name: np.where(mask, np.inf, -np.inf) for name, mask in keep.items()}
    ties = {name: np.zeros(len(mask)) for name, mask in keep.items()}
    curves = {name: np.zeros(len(mask) + 1) for name, mask in keep.items()} if scores.curves else {}
    inverse = {original: (name, channels) for name, (original, channels) in origins.items()}
    for name, found in scores.values.items():
        if name not in origins:
            continue
        original, channels = origins[name]
        values[original][channels] = found
        if name in scores.ties:
            ties[original][channels] = scores.ties[name]
        if name in scores.curves:
            curve = scores.curves[name]
            curves[original] = np.concatenate([curve, np.full(len(values[original]) + 1 - len(curve), curve[-1])])

    def choice(original: str, count: int) -> BoolArray:
        mask = np.zeros(len(keep[original]), dtype=bool)
        if original not in inverse or scores.choose is None:
            return keep[original]
        name, channels = inverse[original]
        mask[channels] = scores.choose(name, count)
        return mask

    return Scores(values, ties, scores.notes, curves, None if scores.choose is None else choice)


@contextmanager
def _cut_network(run: Run, keep: Keep) -> Iterator[tuple[Analysis, Origins]]:
    """Cut the original, recover it as the final result will be, and read what there is."""
    config, result = run.config, recovered_cut(run, keep)
    # Beside the output, where the next run clears up after one that was killed.
    with on_disk(result.model, result.weights, run.staging.folder(config.written)) as (proto, weights):
        smaller = Model(run.model.path, proto, read_graph(proto, weights))
        present = inspect(smaller, allow=config.allow, trim_head=config.trim_head)
        yield present, origins_of(run.analysis, keep, present)


def scored(run: Run, *, limited: bool = False) -> Scores:
    """Gather what the method needs, and score; for widths within limits too where there are such, or if `limited`."""
    config, analysis, policy = run.config, run.analysis, run.goal.policy
    data = None if run.samples is None else run.samples.fit
    method, options = run.method.method, run.method.options
    limited = limited or run.goal.budget.is_limited
    curves = policy_of(method, options, policy).curves
    statistics = gather(
        analysis,
        data,
        method,
        options,
        losses=curves == "losses" and (limited or config.scores_output is not None),
        batch_size=config.batch_size,
        seed=config.seed,
        track=run.listener.track,
    )
    run.working("Choosing what goes")
    scores = rank(analysis, statistics, method, options, losses=curves == "losses", seed=config.seed)
    if curves != "measured" or data is None or not limited:
        return scores
    run.working("Measuring every group by itself")
    facts = run.data_facts
    ranked_by = {
        "method": method.name,
        "options": options,
        "samples": facts["digest"],
        "preprocess": facts["preprocess"],
    }
    return with_sensitivity(scores, analysis, data, ranked_by, seed=config.seed, track=run.listener.track)
