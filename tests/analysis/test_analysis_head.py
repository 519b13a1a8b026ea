"""The classifier's outputs as channels: which axis, which group, and why a head cannot be opened."""

import pytest
from nets import frozen_reasons, net

from onnxprune.analysis.analyse import analyse
from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.head import class_axis, head_obstacle
from onnxprune.graph.model import read_graph
from onnxprune.values.axes import Axis, Ref

BODY = """(float[n, 6] x) => ({outputs})
    <float[6, 16] w, float[16, 5] v, float[5] b, float[5, 5] u, int64[4] shape = {{0, 5, 1, 1}}> {{
        h = MatMul(x, w)
        r = Relu(h)
        s = MatMul(r, v)
        t = Add(s, b)
        {tail}
    }}"""


def opened(tail: str, outputs: str = "float[n, 5] y", opset: int = 17) -> Analysis:
    graph = read_graph(net(BODY.format(tail=tail, outputs=outputs), opset=opset))
    return analyse(graph, head=class_axis(graph))


def obstacle(analysis: Analysis) -> str | None:
    return head_obstacle(analysis.graph, analysis.labelled, analysis.groups, analysis.head)


@pytest.mark.parametrize(
    "tail",
    [
        "y = Identity(t)",
        "y = Sigmoid(t)",
        "y = Softmax(t)",
        "y = LogSoftmax(t)",
        "y = Hardmax(t)",
        "p = Softmax(t) y = Log(p)",
    ],
)
def test_an_open_head_is_one_group_of_its_own(tail: str) -> None:
    analysis = opened(tail)
    assert obstacle(analysis) is None
    assert analysis.head == Axis(Ref("y"), 1)
    assert analysis.classes is not None
    assert (analysis.classes.name, analysis.classes.size, analysis.classes.frozen) == ("s", 5, None)
    assert [group.size for group in analysis.prunable] == [16]
    assert [group.size for group in analysis.free] == [16, 5]
    assert analysis.renormalised == ("max" in tail)


def test_it_stays_shut_unless_asked_for() -> None:
    model = net(BODY.format(tail="y = Softmax(t)", outputs="float[n, 5] y"))
    assert list(frozen_reasons(model)) == ["s"]
    assert analyse(read_graph(model)).classes is None
    # Groups behind a softmax alone may be opened as approximate; the output still keeps this one shut.
    assert list(frozen_reasons(model, approximate=True)) == ["s"]


def test_dimensions_of_one_do_not_count_and_a_reshape_is_gone_through() -> None:
    analysis = opened("y = Reshape(t, shape)", "float[n, 5, 1, 1] y")
    assert obstacle(analysis) is None
    assert analysis.head == Axis(Ref("y"), 1)
    assert analysis.classes is not None
    assert analysis.classes.size == 5


@pytest.mark.parametrize(
    ("tail", "outputs", "reason"),
    [
        ("y = Softmax(t) z = Identity(t)", "float[n, 5] y, float[n, 5] z", "z:1 is part of the graph output 'z'"),
        ("y = Identity(t) z = ArgMax<axis = 1>(t)", "float[n, 5] y, int64[n, 1] z", "ArgMax"),
        ("y = LpNormalization<axis = 1>(t)", "float[n, 5] y", "LpNormalization (node 4) sums over the classes"),
        ("m = ReduceMax<axes = [1]>(t) y = Sub(t, m)", "float[n, 5] y", "t:1 meets ReduceMax"),
        ("e = Exp(t) m = ReduceSum(e) y = Div(e, m)", "float[n, 5] y", "ReduceSum (node 5) sums over the classes"),
        ("q = Softmax(t) y = MatMul(q, u) z = Relu(y)", "float[n, 5] z", None),
        ("y = ReduceSum(t)", "float[1, 1] y", "no output is known to be of shape [N, classes]"),
        ("y = Concat<axis = 1>(t, t)", "float[n, 10] y", "the classes of its output 'y' are not the channels"),
        ("y = Concat<axis = 1>(t, s)", "float[n, 10] y", "the classes of its output 'y' are not the channels"),
    ],
)
def test_a_head_that_cannot_be_opened_says_why(tail: str, outputs: str, reason: str | None) -> None:
    found = obstacle(opened(tail, outputs))
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert reason in found


def test_an_output_that_no_layer_makes_has_no_channels() -> None:
    graph = read_graph(net("(float[n, 5] x) => (float[n, 5] y) { y = Softmax(x) }"))
    analysis = analyse(graph, head=class_axis(graph))
    assert obstacle(analysis) == "no layer's channels reach its output 'y'"


@pytest.mark.parametrize(
    ("outputs", "nodes", "axis"),
    [
        ("int64[n] a, float[n, 1] b, float[n, 5] y", "a = ArgMax<axis = 1, keepdims = 0>(x)", ("y", 1)),
        ("int64[n] a, float[n, 1, 5] y", "a = ArgMax<axis = 1, keepdims = 0>(x)", ("y", 2)),
        ("float[n, 2, 3] b, float[n, 5] y", "", ("y", 1)),
        ("float[n, t] b, float[n, 5] y", "", None),
    ],
)
def test_the_class_axis_is_the_first_that_evaluation_would_take(
    outputs: str, nodes: str, axis: tuple[str, int] | None
) -> None:
    text = (
        f"(float[n, 5] x, {outputs.replace('int64[n] a, ', '').replace(' b', ' p').replace(' y', ' q')}) => ({outputs})"
    )
    copies = " ".join(f"{y} = Identity({x})" for x, y in (("p", "b"), ("q", "y")) if f" {y}" in outputs)
    graph = read_graph(net(f"{text} {{ {nodes} {copies} }}"))
    assert class_axis(graph) == (None if axis is None else Axis(Ref(axis[0]), axis[1]))
