"""Reading a graph: labels, ties, freezes, groups and costs."""

from dataclasses import replace

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.branches import find_branches
from onnxprune.analysis.closed import with_closed_axes
from onnxprune.analysis.costs import cost_table
from onnxprune.analysis.explain import with_what_ties
from onnxprune.analysis.factors import best_factors
from onnxprune.analysis.groups import build_groups, connect
from onnxprune.analysis.head import binding_freezes
from onnxprune.analysis.interface import lifted, of_states
from onnxprune.analysis.labels import FrozenAxis, label
from onnxprune.analysis.other_factors import with_other_factors
from onnxprune.analysis.reading import read_facts
from onnxprune.analysis.sizes import frozen_by_sizes
from onnxprune.analysis.stored_blocks import block_ties
from onnxprune.analysis.unread import unread_layers
from onnxprune.graph.model import Graph
from onnxprune.ops.facts import Tie
from onnxprune.values.axes import Axis
from onnxprune.values.costs import NO_COSTS


def analyse(graph: Graph, *, approximate: bool = False, interface: bool = False, head: Axis | None = None) -> Analysis:
    """Read `graph`: labels, ties, freezes, groups and costs.

    With `approximate`, channels that a normalisation runs over may be cut as well; with `interface` those of states
    that come in and go out; and so may the positions of `head`, an axis of a graph output. Where channels could go
    along one of several factors of an axis, `factors` says which, and `other_factors` whether along others beside it.
    """
    reading = with_closed_axes(read_facts(graph, head), approximate=approximate, interface=interface)

    def attempt(banned: frozenset[Tie]) -> Analysis:
        labelled = label(reading, banned)
        blocks = tuple(block_ties(graph, labelled))
        labelled = replace(labelled, applied_ties=(*labelled.applied_ties, *blocks)) if blocks else labelled
        components = connect(labelled)
        frozen_axes: tuple[FrozenAxis, ...] = (*labelled.frozen_axes, *frozen_by_sizes(graph, labelled, components))
        states = of_states(graph, components, frozen_axes)
        if interface:
            frozen_axes = tuple(left for each in frozen_axes if (left := lifted(components, each, states)) is not None)
        labelled = replace(labelled, frozen_axes=frozen_axes)
        binding = binding_freezes(graph, components, frozen_axes, head)
        groups = build_groups(labelled, components, binding, approximate=approximate, states=states)
        return Analysis(graph, labelled, components, groups, NO_COSTS, approximate, interface, head=head)

    found = with_other_factors(with_what_ties(best_factors(reading, attempt)), reading, attempt)
    branches = find_branches(graph, found.labelled, found.groups)
    return replace(found, unread=tuple(unread_layers(reading)), branches=branches, costs=cost_table(found, branches))
