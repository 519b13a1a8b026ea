"""The registry of op rules and the decorator that fills it."""

from collections.abc import Callable, Iterator

from onnxprune.ops.facts import Fact
from onnxprune.ops.view import NodeView
from onnxprune.registry import Registry

Rule = Callable[[NodeView], Iterator[Fact]]

RULES: Registry[Rule] = Registry("op rule", "onnxprune.ops")


def rule(*ops: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of every op in `ops` of a domain (default: the standard one)."""
    return RULES.register(*(f"{domain}.{op}" if domain else op for op in ops))
