"""What was asked for, and what is left."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block, Lines
from onnxprune.report.requests import left_words, rule_words, target_words
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.plan import Plan
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterator[Block]:
    """Return the request and what was reached."""
    yield request_lines(result.plan)


def request_lines(plan: Plan) -> Lines:
    """Return what a plan was asked for, and what it leaves."""
    asked = ", ".join(target_words(plan.request)) or f"no budget, so what {plan.method} finds below its threshold"
    rules = "; ".join(rule_words(plan.request, plan.classes))
    reached = ", ".join(left_words(name, share) for name, share in plan.reached.items())
    return Lines((f"Requested: {asked}; {rules}.", f"Reached: {reached} are left."))


register(Section("request", 30, blocks))
