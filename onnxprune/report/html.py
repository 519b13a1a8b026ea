"""Blocks as one HTML page that needs nothing else: no script, no font, no picture."""

from collections.abc import Iterable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from onnxprune.report.blocks import Block, Table, plain


def page(title: str, blocks: Iterable[Block]) -> str:
    """Return the page. All text is escaped: names from a model's file cannot become markup."""
    return _template().render(title=title, blocks=list(blocks))


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("onnxprune.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = plain
    environment.tests["table"] = lambda block: isinstance(block, Table)
    return environment.get_template("page.html.j2")
