"""What an importance method is, and the registry of all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxprune.errors import InputError, did_you_mean
from onnxprune.registry import Registry, kind_complaint
from onnxprune.values.axes import FloatArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import STORED, Consumer, Scores, Statistics

GROUP = "onnxprune.methods"
"""Entry points under which other packages offer their methods: the name of the method = where its `Method` is."""

ScoreFunction = Callable[[Sequence[ChannelGroup], Statistics, Mapping[str, Any], np.random.Generator], Scores]


@dataclass(frozen=True)
class Setting:
    """A setting of a method: its default decides its type.

    On the command line it is an option under its name as well.

    Attributes:
        default: its value where none is given.
        help: what it decides.
        choices: restricts it.
        low, high: bound it.
        switches: options without a value that stand for one of its values, by their names.
        only: another setting and the values of which it has to have one for this one to count.
    """

    default: Any
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    switches: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, tuple[Any, ...]] | None = None


@dataclass(frozen=True)
class Method:
    """An importance method.

    Attributes:
        name: what the user calls it.
        summary: one line.
        formula: how a channel is scored.
        source: the paper, with what of it is our reading.
        needs: from the method's options to the statistics that it needs.
        score: the scores; pure.
        options: its settings.
        cost: in words, what it takes beyond reading the model.
        threshold: the value under which the method's own rule removes a channel, or None if it only ranks.
        cap: from the method's options to the largest share of all channels that its own rule removes in one run.
        policy: from the method's options to how widths follow from a budget unless the user says otherwise, by name
            (`onnxprune.selection.policies`); `loss` takes data, and without is `global`.
        widths: where widths follow from what the reading layers lose, the weights by which their errors count,
            [groups, inputs, outputs].
    """

    name: str
    summary: str
    formula: str
    source: str
    needs: Callable[[Mapping[str, Any]], frozenset[str]]
    score: ScoreFunction
    options: Mapping[str, Setting] = field(default_factory=dict)
    cost: str = ""
    threshold: float | None = None
    cap: Callable[[Mapping[str, Any]], float] = lambda options: 1.0
    policy: Callable[[Mapping[str, Any]], str] = lambda options: "loss"
    widths: Callable[[Consumer], FloatArray] = lambda consumer: consumer.relative

    def needs_data(self, options: Mapping[str, Any]) -> bool:
        """Whether anything that it needs, with these options, comes from samples and not from the model alone."""
        return bool(self.needs(options) - STORED)

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options, text read as the type of their defaults, and defaults filled in.

        Raises:
            InputError: an option that the method does not have, or a value that it does not take.
        """
        unknown = sorted(set(given) - set(self.options))
        if unknown:
            known = ", ".join(sorted(self.options)) or "none"
            others = [method.name for method in METHODS.values() if unknown[0] in method.options]
            if others:
                raise InputError(
                    f"{unknown[0]!r} is an option of method {' and '.join(others)}, and the method is {self.name}; "
                    f"choose that one with --method {others[0]}.",
                    "unknown-name",
                )
            raise InputError(
                f"Method {self.name} has no option {unknown[0]!r}; its options are: {known}.", "unknown-name"
            )
        settled = {name: option.default for name, option in self.options.items()} | self._read(given)
        for name, value in settled.items():
            _check(self.name, name, self.options[name], value)
        self._check_counting(settled)
        return settled

    def _read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: _typed(self.name, name, value, self.options[name].default) if isinstance(value, str) else value
            for name, value in given.items()
        }

    def spelled(self, word: str) -> tuple[str, Any] | None:
        """Return which setting `--word` is, and its value where the word stands for one; None: neither."""
        for name, option in self.options.items():
            if word.replace("_", "-") in option.switches:
                return name, option.switches[word.replace("_", "-")]
        name = word.replace("-", "_")
        return (name, None) if name in self.options else None

    def _check_counting(self, settled: Mapping[str, Any]) -> None:
        for name, option in self.options.items():
            if option.only is None or settled[name] == option.default or settled[option.only[0]] in option.only[1]:
                continue
            other, wanted = option.only
            words = [f"--{word}" for word, value in self.options[other].switches.items() if value in wanted]
            spelled = f" ({', '.join(words)})" if words else ""
            raise InputError(
                f"Option {name} of method {self.name} counts only where {other} is {' or '.join(map(str, wanted))}"
                f"{spelled}; add that or leave it out.",
                "missing-option",
            )


def _typed(method: str, name: str, text: str, default: Any) -> Any:
    """Return `text` as the type of `default`."""
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if isinstance(default, float) and text.endswith("%"):
            return float(text[:-1]) / 100
        if isinstance(default, int | float):
            return type(default)(text)
    except (KeyError, ValueError):
        kind = "true or false" if isinstance(default, bool) else "a number"
        raise InputError(
            f"Option {name}={text} of method {method} has to be {kind}, such as {name}={default}.",
            "bad-value",
        ) from None
    return text


def _check(method: str, name: str, option: Setting, value: Any) -> None:
    if option.choices and value not in option.choices:
        raise InputError(
            f"Option {name} of method {method} is one of {', '.join(option.choices)}, not {value!r}.", "bad-value"
        )
    if isinstance(option.default, int | float) and not isinstance(option.default, bool):
        whole = isinstance(option.default, int)
        if not isinstance(value, int if whole else int | float) or isinstance(value, bool) or value != value:
            kind = "a whole number" if whole else "a number"
            raise InputError(f"Option {name} of method {method} has to be {kind}, not {value!r}.", "bad-value")
    low, high = option.low, option.high
    if (low is not None and value < low) or (high is not None and value > high):
        span = f"at least {low:g}" if high is None else f"between {low or 0:g} and {high:g}"
        hint = f"; did you mean {value:g}%?" if high == 1 and 1 < value <= 100 else "."
        raise InputError(f"Option {name} of method {method} has to be {span}, not {value:g}{hint}", "bad-value")


_complaint = kind_complaint(Method)
METHODS: Registry[Method] = Registry("method", "onnxprune.importance", GROUP, _complaint)


def register(method: Method) -> Method:
    """Add `method` to the registry under its name."""
    return METHODS.register(method.name)(method)


def find_method(name: str) -> Method:
    """Return a method by name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in METHODS:
        if reason := METHODS.unusable(name):
            raise InputError(reason, "unknown-name")
        raise InputError(
            f"Unknown method {name!r}{did_you_mean(name, METHODS)}; the known ones are: {', '.join(METHODS)}.",
            "unknown-name",
        )
    return METHODS[name]


def with_threshold() -> str:
    """Return the names of the methods that have a threshold of their own, for a message."""
    return ", ".join(name for name, method in METHODS.items() if method.threshold is not None)


def spelled(word: str, method: str = "") -> tuple[str, Any] | None:
    """Return which setting a word is, as `Method.spelled`: of `method`, else of any, for the refusal to name both."""
    first = [METHODS[method]] if method in METHODS else []
    found = (each.spelled(word) for each in (*first, *METHODS.values()))
    return next((each for each in found if each is not None), None)


def over_layers(group: ChannelGroup, by_layer: Mapping[str, FloatArray]) -> FloatArray | None:
    """Average a per-channel quantity over the layers that produce a group.

    `by_layer` holds [channels of the layer] by layer. Where a channel takes several positions of a layer (columns of a
    grouped convolution) their mean counts. Returns [channels of the group], or None where no layer was measured.
    """
    parts = [
        by_layer[member.axis.ref.name][member.positions].mean(axis=1)
        for member in group.members
        if member.role == "produces" and member.axis.ref.name in by_layer
    ]
    return np.mean(parts, axis=0) if parts else None
