"""LSTM, GRU and RNN: the hidden units are a group, over all gates, directions and states.

X [T, B, I], W [D, g H, I], R [D, g H, H], B [D, 2 g H], P [D, 3 H] -> Y [T, D, B, H], Y_h and Y_c [D, B, H]; with
layout 1 the batch comes first. Both directions have equally many units, so unit j of each goes together.
"""

from collections.abc import Iterator

from onnxprune.ops.common import span
from onnxprune.ops.facts import Count, Fact, Macs, Produces, Sums, Tie
from onnxprune.ops.rules import rule
from onnxprune.ops.view import NodeView, Operand

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_STATES = (5, 6)
_PEEPHOLES = 7


@rule("LSTM", "GRU", "RNN")
def recurrent(node: NodeView) -> Iterator[Fact]:
    """Tie every gate's row, the recurrent column, biases, states and outputs of a hidden unit.

    The recurrent sum runs inside the node, over the columns of R: there a removed unit is zeroed in the weight.
    MACs: elements of W and R for every step.
    """
    x, w, r = node.input(0), node.weight(1), node.weight(2)
    gates, hidden = _GATES[node.op], r.shape[2]
    yield Tie(x.axis(2), w.axis(2))
    yield Sums(x.axis(2))
    yield Sums(r.axis(2), inside=True)
    yield Count("hidden_size", 0, r.axis(2))
    for weight in (w, r):
        yield _gate_tie(weight, gates, r, hidden)
        yield Macs(x.shape[0] * x.shape[1], tuple(weight.axis(axis) for axis in range(3)))
    bias = node.optional(3)
    if bias is not None:
        yield _gate_tie(bias, 2 * gates, r, hidden)
    if node.op == "LSTM" and (peepholes := node.optional(_PEEPHOLES)) is not None:
        yield _gate_tie(peepholes, 3, r, hidden)
    states = [node.optional(slot) for slot in (_STATES if node.op == "LSTM" else _STATES[:1])]
    for tensor in (*states, *node.outputs):
        if tensor is not None:
            yield Tie(tensor.axis(-1), r.axis(2))
    yield from (Produces(tensor.axis(-1)) for tensor in node.outputs if tensor is not None)


def _gate_tie(tensor: Operand, gates: int, r: Operand, hidden: int) -> Tie:
    """Tie the rows of all gates, stacked along axis 1, to the hidden units."""
    rows = span(gates * hidden)
    return Tie(tensor.axis(1), r.axis(2), rows, rows % hidden)
