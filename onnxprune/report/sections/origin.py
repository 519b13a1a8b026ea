"""Where the result came from, so that it can be made again."""

from collections.abc import Iterator

from onnxprune.report.blocks import Block, Table
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.results import Result

DIGEST = 12
"""Characters of a digest that people are shown."""


def blocks(result: Result, detail: Detail) -> Iterator[Block | None]:
    """Return model, method, seed, data and versions, on a page."""
    yield origin_table(result) if detail.page else None


def origin_table(result: Result) -> Table:
    """Return model, method, seed, data and versions."""
    plan = result.plan
    options = ", ".join(f"{name} {value}" for name, value in plan.options.items())
    rows = [
        ("model", f"{plan.model}, digest {plan.digest[:DIGEST]}..."),
        ("method", f"{plan.method} ({options})" if options else plan.method),
        ("seed", str(plan.seed)),
    ]
    if plan.recovery:
        samples = plan.recovery.get("samples")
        rows.append(("recovery", f"{plan.recovery['name']}{f', from {samples} samples' if samples else ''}"))
    if plan.classes:
        rows.append(("classes", ", ".join(f"{name} (output {output})" for name, output in plan.classes.items())))
    if plan.data:
        rows.append(("scored on", f"{plan.data.get('images', '?')} images, {plan.data.get('classes', 0)} classes"))
        rows.append(("data", f"digest {str(plan.data.get('digest', '?'))[:DIGEST]}..."))
    if result.data is not None and result.data.scaling:
        rows.append(("pixels", result.data.scaling))
    rows.append(("versions", ", ".join(f"{name} {number}" for name, number in plan.versions.items())))
    return Table("Origin", ("", ""), tuple(rows))


register(Section("origin", 120, blocks))
