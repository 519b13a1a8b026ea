"""Options of methods, finding methods, and averaging over the layers of a group."""

from typing import Any

import numpy as np
import pytest
from refusals import refused

from onnxprune.errors import InputError
from onnxprune.importance.method import METHODS, Method, Setting, find_method, over_layers, register
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.groups import ChannelGroup, Member, Role


def member(name: str, positions: list[list[int]], role: Role = "produces") -> Member:
    return Member(Axis(Ref(name), 1), np.asarray(positions), role)


def test_options_are_filled_with_defaults() -> None:
    given = {"variant": "map", "rule": "vote"}
    assert find_method("entropy").settle(given) == {"variant": "map", "rule": "vote", "q": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": 1}, "Method entropy has no option 'colour'; its options are: q, rule, variant."),
        ({"variant": "maps"}, "Option variant of method entropy is one of conditional, map, gap, not 'maps'."),
        ({"q": 1.5}, "Option q of method entropy has to be between 0 and 1, not 1.5; did you mean 1.5%?"),
        ({"q": -0.1}, "Option q of method entropy has to be between 0 and 1, not -0.1."),
        ({"q": "half"}, "Option q=half of method entropy has to be a number, such as q=1.0."),
        ({"q": float("nan")}, "Option q of method entropy has to be a number, not nan."),
        ({"q": True}, "Option q of method entropy has to be a number, not True."),
        ({"rule": ["mean"]}, "Option rule of method entropy is one of mean, vote, not ['mean']."),
    ],
)
def test_an_option_that_is_not_taken_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        find_method("entropy").settle(options)
    assert str(caught.value) == message


def test_a_bound_on_one_side_is_said_as_such() -> None:
    method = Method("m", "", "", "", lambda options: frozenset(), lambda *_: None, {"n": Setting(5, "", low=1)})  # type: ignore[arg-type]
    assert method.settle({"n": 7}) == {"n": 7}
    with refused("bad-value", "Option n of method m", "at least 1", "not 0"):
        method.settle({"n": 0})
    with refused("bad-value", "Option n of method m", "a whole number", "not 1.5"):
        method.settle({"n": 1.5})


def test_a_method_without_options_says_so() -> None:
    with refused("unknown-name", "random", "'q'", "--method entropy"):
        find_method("random").settle({"q": 1})
    with refused("unknown-name", "random", "'colour'", "none"):
        find_method("random").settle({"colour": 1})


def test_an_unknown_method_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        find_method("entropie")
    nearest = "(did you mean 'entropy'?)"
    assert (
        str(caught.value) == f"Unknown method 'entropie' {nearest}; the known ones are: {', '.join(sorted(METHODS))}."
    )
    assert {"entropy", "random"} <= set(METHODS)


def test_every_method_says_what_it_is_and_has_sound_defaults() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert method.summary.endswith(".")
        assert method.formula
        assert method.source
        assert isinstance(method.needs(method.settle({})), frozenset)


def test_a_method_cannot_be_registered_twice() -> None:
    with pytest.raises(ValueError, match="method 'entropy' is registered twice"):
        register(find_method("entropy"))


def test_columns_of_a_grouped_convolution_average_their_positions() -> None:
    group = ChannelGroup("a", 2, (member("a", [[0, 2], [1, 3]]),), ("a",))
    found = over_layers(group, {"a": np.array([1.0, 10.0, 3.0, 30.0])})
    assert found is not None
    assert found.tolist() == [2.0, 20.0]


def test_layers_count_alike_whatever_their_multiplicity() -> None:
    group = ChannelGroup("a", 2, (member("a", [[0, 2], [1, 3]]), member("b", [[1], [0]])), ("a", "b"))
    found = over_layers(group, {"a": np.array([1.0, 10.0, 3.0, 30.0]), "b": np.array([0.0, 4.0])})
    assert found is not None
    assert found.tolist() == [3.0, 10.0]


def test_only_producing_and_measured_layers_count() -> None:
    members = (member("a", [[0], [1]]), member("b", [[0], [1]]), member("c", [[0], [1]], "activation"))
    group = ChannelGroup("a", 2, members, ("a", "b"))
    found = over_layers(group, {"a": np.array([1.0, 2.0]), "c": np.array([50.0, 60.0])})
    assert found is not None
    assert found.tolist() == [1.0, 2.0]
    assert over_layers(group, {"c": np.array([50.0, 60.0])}) is None
