"""The registry of op rules and the decorator that fills it."""

from collections.abc import Callable, Iterator
from typing import Any

from onnxprune.ops.facts import Fact
from onnxprune.ops.view import NodeView
from onnxprune.registry import Registry

Rule = Callable[[NodeView], Iterator[Fact]]

GROUP = "onnxprune.ops"
"""Entry points under which other packages offer their rules: the op (after its domain, a dot) = where its rule is."""


def _complaint(_: str, thing: Any) -> str | None:
    """Return what is wrong with what another package offers as a rule, or None."""
    return None if callable(thing) else "it is no function from a node to facts"


RULES: Registry[Rule] = Registry("op rule", "onnxprune.ops", GROUP, _complaint)


def rule(*ops: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of every op in `ops` of a domain (default: the standard one)."""
    return RULES.register(*(f"{domain}.{op}" if domain else op for op in ops))
