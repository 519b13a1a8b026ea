"""The importance methods as people and programs read them."""

from collections.abc import Mapping
from typing import Any

from onnxprune.importance.method import Method, Setting
from onnxprune.report.blocks import Block, Lines


def method_blocks(method: Method) -> tuple[Block, ...]:
    """Return what a user has to know to choose a method."""
    lines = [
        method.summary,
        f"formula: {method.formula}",
        f"needs: {', '.join(needs(method)) or 'nothing'}{'' if method.needs_data(method.settle({})) else ' (no data)'}",
        f"cost: {method.cost or 'not said'}",
        f"without a budget and data, or by --alpha: {_rule(method)}",
        *(f"option {name}: {_option(option)}" for name, option in method.options.items()),
        f"source: {method.source}",
    ]
    return (Lines(tuple(lines), method.name),)


def broken_blocks(broken: Mapping[str, str]) -> tuple[Block, ...]:
    """Name what other packages offer as methods and cannot be used."""
    lines = tuple(f"{name}: {why}" for name, why in sorted(broken.items()))
    return (Lines(lines, "Methods of other packages that cannot be used"),) if lines else ()


def needs(method: Method) -> list[str]:
    """Return the statistics that a method needs with its default settings."""
    return sorted(method.needs(method.settle({})))


def method_json(method: Method) -> dict[str, Any]:
    """The method as JSON types."""
    return {
        "name": method.name,
        "summary": method.summary,
        "formula": method.formula,
        "needs": needs(method),
        "needs_data": method.needs_data(method.settle({})),
        "cost": method.cost,
        "policy": method.policy(method.settle({})),
        "threshold": method.threshold,
        "options": {name: {**vars(option), "choices": list(option.choices)} for name, option in method.options.items()},
        "source": method.source,
    }


def _rule(method: Method) -> str:
    return "it only ranks, so give a budget" if method.threshold is None else "its own threshold decides"


def _option(option: Setting) -> str:
    if option.choices:
        takes = " | ".join(option.choices)
    elif option.low is not None or option.high is not None:
        takes = (
            f"{'' if option.low is None else f'{option.low:g}'} .. {'' if option.high is None else f'{option.high:g}'}"
        )
    else:
        takes = type(option.default).__name__
    return f"{option.help} ({takes}; default {option.default})"
