"""What can be asked of a plan, and what each of it is called in words.

A plan's request is a table by name. A name without an entry in `REQUESTS` is shown as it is, with its value.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from onnxprune.report import numbers
from onnxprune.selection.budget import BUDGETS, OWN
from onnxprune.values.amount import percent
from onnxprune.values.interface import shape_text
from onnxprune.values.plan import INPUT_SHAPE, PROTECT

Role = Literal["target", "rule"]
"""A target decides how much goes; a rule how, or within what limits."""


@dataclass(frozen=True)
class Request:
    """One thing that can be asked for.

    Attributes:
        role: target or rule.
        words: from its value, and the chosen classes, to what was asked; empty: nothing worth saying.
    """

    role: Role
    words: Callable[[Any, Mapping[str, int]], str]


def target_words(request: Mapping[str, Any]) -> Iterator[str]:
    """Say what decides how much goes, in the order in which it was asked for; unknown names come last."""
    known = {name: value for name, value in request.items() if name in REQUESTS}
    for name, value in known.items():
        if REQUESTS[name].role == "target":
            yield REQUESTS[name].words(value, {})
    yield from (f"{name} {value}" for name, value in request.items() if name not in REQUESTS)


def rule_words(request: Mapping[str, Any], classes: Mapping[str, int]) -> Iterator[str]:
    """Say how it goes, in the order of `REQUESTS`."""
    for name, known in REQUESTS.items():
        if known.role == "rule" and (name in request or name == "round_to"):
            words = known.words(request.get(name), classes)
            if words:
                yield words


def left_words(name: str, share: float) -> str:
    """Say which share of a cost of the original is left."""
    costs = {each.key or each.name: each.words for each in BUDGETS.values()}
    return f"{percent(share)} of the {costs.get(name, 'prunable channels' if name == 'channels' else name)}"


def _at_most(name: str, amount: float | str) -> str:
    words = BUDGETS[name].words if name in BUDGETS else name
    return f"at most {amount if isinstance(amount, str) else percent(amount)} of the {words}"


def _ratios(ratios: Mapping[str, float]) -> str:
    return ", ".join(f"{percent(share)} of the channels of {pattern} removed" for pattern, share in ratios.items())


def _shapes(shapes: Mapping[str, Sequence[int | None]]) -> str:
    each = (f"{name} of {shape_text(shape)}" for name, shape in shapes.items())
    return f"multiply-adds and times for {', '.join(each)}" if shapes else ""


def _steps(steps: int) -> str:
    return f"chosen in {steps} steps"


def _target(words: Callable[[Any], str]) -> Request:
    return Request("target", lambda value, _: words(value))


def _rule(words: Callable[[Any], str]) -> Request:
    return Request("rule", lambda value, _: words(value))


def _allowed(kinds: str) -> str:
    said = {
        "approximate": "approximate groups too (checked against normalising over the channels that stay)",
        "interface": "states too, at both ends alike",
    }
    return ", ".join(words for kind, words in said.items() if kind in kinds)


REQUESTS: Mapping[str, Request] = {
    **{name: _target(partial(_at_most, name)) for name in OWN},
    "budgets": _target(lambda given: ", ".join(_at_most(name, amount) for name, amount in given.items())),
    "ratio": _target(lambda share: f"{percent(share)} of the channels of every group removed"),
    "alpha": _target(lambda alpha: f"everything below {alpha:g} times the threshold removed"),
    "max_drop": _target(lambda share: f"at most {numbers.amount_of_points(share)} of top-1 lost on held-out data"),
    "max_drift": _target(lambda share: f"no output changed by more than {100 * share:g} % on held-out data"),
    "ratio_for": _target(_ratios),
    "round_to": _rule(
        lambda block: "widths not rounded" if block in (None, 1) else f"widths in blocks of {block} (below that any)",
    ),
    "allow": _rule(_allowed),
    INPUT_SHAPE: _rule(_shapes),
    "steps": _rule(_steps),
    "rounds": _rule(_steps),  # what earlier plans called steps
    "policy": _rule(lambda name: f"policy {name}"),
    "min_keep": _rule(lambda share: f"at least {percent(share)} of every group kept"),
    "keep": _rule(lambda patterns: f"left whole: {', '.join(patterns)}"),
    PROTECT: _rule(lambda names: f"protected: {', '.join(names)}"),
    "max_class_drop": _rule(lambda share: f"no class to lose more than {100 * share:g} points"),
    "trim_head": Request(
        "rule", lambda trimmed, classes: f"the classifier cut to {', '.join(classes)}" if trimmed else ""
    ),
}
"""All that can be asked for, by its name in a plan's request."""
