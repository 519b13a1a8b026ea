"""The chain of ties that froze an axis, or coupled it to others."""

import pytest
from nets import analysed, net
from refusals import refused

from onnxprune.analysis.explain import TieStep, explain
from onnxprune.errors import Code

TEXT = """(float[n, 3, 5, 5] x) => (float[n, 8, 5, 5] y, float[n, 4, 5, 5] z)
    <float[8, 3, 1, 1] w0, float[6, 8, 1, 1] w1, float[6, 3, 1, 1] w2, float[4, 6, 1, 1] w3> {
        a = Conv(x, w0)
        [act] r = Relu(a)
        y = Sigmoid(r)
        b = Conv(r, w1)
        c = Conv(x, w2)
        s = Add(b, c)
        z = Conv(s, w3)
    }"""


def test_a_frozen_axis_comes_with_the_way_to_its_reason() -> None:
    found = explain(analysed(net(TEXT)), "w0:0")
    assert found.reason == "y:1 is part of the graph output 'y'"
    assert (found.axis, found.size, found.frozen, found.coupled) == ("w0:0", 8, 8, ())
    assert found.chain == (
        TieStep("w0:0", "Conv (node 0)", "a:1"),
        TieStep("a:1", "Relu 'act'", "r:1"),
        TieStep("r:1", "Sigmoid (node 2)", "y:1"),
    )


def test_a_free_axis_comes_with_the_layers_that_go_with_it() -> None:
    found = explain(analysed(net(TEXT)), "b:1")
    assert found.reason is None
    assert found.size == 6
    assert [(layer, [step.node for step in chain]) for layer, chain in found.coupled] == [
        ("c", ["Add (node 5)", "Add (node 5)"])
    ]


@pytest.mark.parametrize("axis", ["x:2", "y:-1"])
def test_an_axis_that_no_channel_reaches_stays_as_it_is(axis: str) -> None:
    found = explain(analysed(net(TEXT)), axis)
    assert found.size is None
    assert "stays as it is" in str(found.reason)


def test_part_of_an_axis_may_be_frozen() -> None:
    found = explain(
        analysed(
            net("""(float[n, 3, 5] x) => (float[n, 3, 5] p, float[n, 4, 5] y)
            <float[8, 3, 1] w0, float[4, 5, 1] w1, int64[2] sizes = {3, 5}> {
                a = Conv(x, w0)
                p, q = Split<axis = 1>(a, sizes)
                y = Conv(q, w1)
            }""")
        ),
        "a:1",
    )
    assert (found.size, found.frozen) == (8, 3)


@pytest.mark.parametrize(
    ("text", "code", "thing"),
    [
        ("a", "bad-value", "TENSOR:AXIS"),
        ("a:b", "bad-value", "TENSOR:AXIS"),
        ("w9:0", "unknown-name", "'w9' in this graph; did you mean"),
        ("a:4", "bad-value", "'a' has 4 axes"),
    ],
)
def test_a_question_about_nothing_is_answered_with_what_there_is(text: str, code: Code, thing: str) -> None:
    with refused(code, thing):
        explain(analysed(net(TEXT)), text)


def test_what_makes_one_unit_of_all_channels_is_named() -> None:
    """Three groups of four, then four of three: what goes with a channel by the one brings in all by the other."""
    model = net("""(float[1, 3, 4, 4] x) => (float[1, 4, 4, 4] y)
        <float[12, 3, 1, 1] w0, float[12, 4, 1, 1] w1, float[12, 3, 1, 1] w2, float[4, 12, 1, 1] w3> {
            c = Conv(x, w0)
            d = Conv<group = 3>(c, w1)
            e = Conv<group = 4>(d, w2)
            y = Conv(e, w3)
        }""")
    tied = {group.name: group.tied for group in analysed(model).groups if group.tied}
    assert tied == {"d": "all 12 channels are one unit, tied by Conv (node 1) and Conv (node 2)"}


def test_of_several_frozen_parts_the_first_is_explained() -> None:
    analysis = analysed(
        net("""(float[1, 3, 4, 4] x) => (float[1, 2, 4, 4] y, float[1, 5, 4, 4] second, float[1, 6, 4, 4] third)
        <float[4, 3, 1, 1] w0, float[5, 3, 1, 1] w1, float[6, 3, 1, 1] w2, float[2, 15, 1, 1] w3> {
            a = Conv(x, w0)
            second = Conv(x, w1)
            third = Conv(x, w2)
            c = Concat<axis = 1>(a, second, third)
            y = Conv(c, w3)
        }""")
    )
    found = explain(analysis, "c:1")
    assert found.frozen == 11
    assert found.reason is not None
    assert "second:1" in found.reason
