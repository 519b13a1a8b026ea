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
from onnxprune.analysis.labels import FrozenAxis, label
from onnxprune.analysis.reading import read_facts
from onnxprune.analysis.sizes import frozen_by_sizes
from onnxprune.analysis.unread import unread_layers
from onnxprune.graph.model import Graph
from onnxprune.ops.facts import Tie
from onnxprune.values.axes import Axis


def analyse(graph: Graph, *, approximate: bool = False, head: Axis | None = None) -> Analysis:
    """Read `graph`: labels, ties, freezes, groups and costs.

    With `approximate`, channels that a normalisation runs over may be cut as well, and so may the positions of `head`,
    an axis of a graph output. Where channels could go along one
    of several factors of an axis, `factors` says which.
    """
    reading = with_closed_axes(read_facts(graph, head), approximate=approximate)

    def attempt(banned: frozenset[Tie]) -> Analysis:
        labelled = label(reading, banned)
        components = connect(labelled)
        frozen_axes: tuple[FrozenAxis, ...] = (*labelled.frozen_axes, *frozen_by_sizes(graph, labelled, components))
        labelled = replace(labelled, frozen_axes=frozen_axes)
        binding = binding_freezes(graph, components, frozen_axes, head)
        groups = build_groups(labelled, components, binding, approximate=approximate)
        costs = cost_table(graph, labelled, groups)
        return Analysis(graph, labelled, components, groups, costs, approximate, head=head)

    found = with_what_ties(best_factors(reading, attempt))
    branches = find_branches(graph, found.labelled, found.groups)
    costs = cost_table(graph, found.labelled, found.groups, branches) if branches else found.costs
    return replace(found, unread=tuple(unread_layers(reading)), branches=branches, costs=costs)
