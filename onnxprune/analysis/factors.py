"""Which factor of an axis carries its channels: heads or head dimensions, groups or their columns.

Where a reshape splits an axis in two, either factor could carry the channels, never both. The labelling takes the
innermost first. Where another one may let more go, it is made again with some of the alternatives banned, and every
*block* of the network (axes that ties could connect at all, whichever factors are taken) keeps the better of the two.
Blocks are told apart by their ties alone, so one block's choice does not touch the channels of another.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.closed import dead_ends
from onnxprune.analysis.reading import Reading
from onnxprune.ops.facts import Tie
from onnxprune.values.axes import Axis, BoolArray

# How often a block's bans are extended where an alternative ran into a reshape that is cut along the first one.
_ROUNDS = 3

Blocks = Mapping[Axis, int]

Attempt = Callable[[frozenset[Tie]], Analysis]


def best_factors(reading: Reading, attempt: Attempt) -> Analysis:
    """Return the best of the attempts with alternatives banned.

    Banned are, one after the other: factors that end at closed axes; factors in the way of one further in; factors none
    of whose channels can be cut, first the smallest of each block (the two in a pair before the pairs in a head), then
    all; factors in the way of any other. At last, the ties between uses of one weight by which nothing can be cut: each
    then gets its own copy. Alternatives of which none leads anywhere are let be.
    """
    best = attempt(frozenset())
    if not best.labelled.carriers and not best.labelled.shared:
        return best
    blocks = _blocks(reading)
    ending, vain = dead_ends(reading)
    banned: frozenset[Tie] = frozenset()
    tried = {banned}
    proposals: tuple[Callable[[Analysis], frozenset[Tie]], ...] = (
        lambda _: ending,
        _overruled,
        lambda analysis: _smallest(_idle(analysis), blocks),
        _idle,
        _blocking,
        _idle_sharing,
    )
    for propose in proposals:
        wish = propose(best) - banned - vain
        if wish not in tried:
            tried.add(wish)
            best, banned = _improved(best, banned, wish, vain, blocks, attempt)
    return best


def _improved(
    best: Analysis,
    banned: frozenset[Tie],
    wish: frozenset[Tie],
    vain: frozenset[Tie],
    blocks: Blocks,
    attempt: Attempt,
) -> tuple[Analysis, frozenset[Tie]]:
    """Try to ban `wish` and take it over in the blocks that lose more MACs by it.

    In the other blocks the alternative may have run into further reshapes that are cut along the factor which it is to
    replace, or be taken in vain itself, as one side of the block of a pixel shuffle after the other; these are banned
    as well, but for those in `vain`, and all of it is tried again.
    """
    for _ in range(_ROUNDS):
        if not wish:
            break
        trial = attempt(banned | wish)
        better = _better_blocks(best, trial, blocks, {blocks[tie.a] for tie in wish})
        won = frozenset(tie for tie in wish if blocks[tie.a] in better)
        rest = wish - won
        open_blocks = {blocks[tie.a] for tie in rest}
        in_the_way = (trial.labelled.blocking & set(best.labelled.carriers)) or _idle(trial)
        further = frozenset(tie for tie in in_the_way if blocks[tie.a] in open_blocks) - rest - vain
        if won:
            banned = banned | won
            best = attempt(banned) if rest else trial
        stuck = open_blocks - {blocks[tie.a] for tie in further}
        wish = further | frozenset(tie for tie in rest if blocks[tie.a] not in stuck)
    return best, banned


def _blocks(reading: Reading) -> Blocks:
    """Number the sets of axes that any ties connect, alternatives included."""
    ties = [fact for fact, _ in reading.every if isinstance(fact, Tie)]
    ties.extend(tie for shared in reading.shared.values() for tie in shared)
    index: dict[Axis, int] = {}
    ends = np.asarray([[index.setdefault(end, len(index)) for end in (tie.a, tie.b)] for tie in ties]).T
    edges = coo_array((np.ones(len(ties), dtype=np.int8), (ends[0], ends[1])), shape=(len(index), len(index)))
    _, numbers = connected_components(edges, directed=False)
    return {axis: int(numbers[place]) for axis, place in index.items()}


def _overruled(analysis: Analysis) -> frozenset[Tie]:
    return analysis.labelled.overruled


def _blocking(analysis: Analysis) -> frozenset[Tie]:
    return analysis.labelled.blocking


def _idle(analysis: Analysis) -> frozenset[Tie]:
    """Return the alternatives that were taken in vain: nothing that they carry can be cut."""
    return _in_vain(analysis, analysis.labelled.carriers)


def _idle_sharing(analysis: Analysis) -> frozenset[Tie]:
    """Return the ties between uses of one weight by which nothing can be cut."""
    return _in_vain(analysis, analysis.labelled.shared)


def _in_vain(analysis: Analysis, ties: Iterable[Tie]) -> frozenset[Tie]:
    """Return the ties along which nothing can be cut."""
    components, cut = analysis.components, analysis.labellings[0].reached(analysis.free)

    @cache
    def places(axis: Axis) -> BoolArray:
        """Return which positions of an axis are cut; an empty array stands for none."""
        found = cut[components.labels(axis)]
        return found if found.any() else found[:0]

    def in_vain(tie: Tie) -> bool:
        end, at = (tie.a, tie.a_at) if tie.a in components.index else (tie.b, tie.b_at)
        found = places(end)
        return not found.size or not (at is None or found[at].any())

    return frozenset(tie for tie in ties if in_vain(tie))


def _smallest(ties: frozenset[Tie], blocks: Blocks) -> frozenset[Tie]:
    """Return the ties of the smallest factor in each block."""
    sizes = {tie: min(size for _, size in tie.periods) if tie.periods else 0 for tie in ties}
    least: dict[int, int] = {}
    for tie, size in sizes.items():
        least[blocks[tie.a]] = min(size, least.get(blocks[tie.a], size))
    return frozenset(tie for tie, size in sizes.items() if size == least[blocks[tie.a]])


def _better_blocks(best: Analysis, trial: Analysis, blocks: Blocks, candidates: set[int]) -> set[int]:
    """Return the blocks for which `trial` leaves fewer MACs when every group is halved, the rest being as in `best`."""
    before, after = _shares_left(best), _shares_left(trial)
    gain = dict.fromkeys(candidates, 0.0)
    shapes = best.graph.facts.shapes[0]
    for fact, _ in best.labelled.macs:
        whole = fact.factor
        for axis in fact.axes:
            whole *= shapes[axis.ref.name][axis.dim] * before.get(axis, 1.0)
        for block in {blocks[axis] for axis in fact.axes if axis in blocks} & candidates:
            own = [axis for axis in fact.axes if blocks.get(axis) == block]
            change = np.prod([after.get(axis, 1.0) / before.get(axis, 1.0) for axis in own])
            gain[block] += whole * (1.0 - float(change))
    return {block for block, saved in gain.items() if saved > 0.5}


def _shares_left(analysis: Analysis) -> dict[Axis, float]:
    """Return the share of every axis that is left when every prunable group loses half of its channels."""
    lost: dict[Axis, float] = {}
    for group in analysis.free:
        for member in group.members:
            share = member.positions.size / analysis.labelled.sizes[member.axis] / 2
            lost[member.axis] = lost.get(member.axis, 0.0) + share
    return {axis: 1.0 - share for axis, share in lost.items()}
