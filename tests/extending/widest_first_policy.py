"""A policy of another package: the widest group loses a block, until the limits hold."""

from onnxprune.selection.policy import Policy, Problem


def choose(problem: Problem) -> dict[str, int]:
    """Return the widths that narrowing the widest group again and again leads to."""
    counts = dict(problem.caps)
    problem.limits.refuse_impossible({width.name: min(width.floor, counts[width.name]) for width in problem.widths})
    while not problem.limits.hold(counts):
        open_ = [width for width in problem.widths if width.down_one(counts[width.name]) < counts[width.name]]
        widest = max(open_, key=lambda width: counts[width.name])
        counts[widest.name] = widest.down_one(counts[widest.name])
    return counts


POLICY = Policy("widest-first", "the widest group loses a block, until the limits hold", "none", choose)
