"""`onnxprune methods`: the importance methods there are."""

from typing import Any

import click

from onnxprune.cli.options import debug_option, json_option
from onnxprune.cli.sections import Command


@click.command(cls=Command, short_help="List the importance methods.")
@json_option
@debug_option
def methods(**flags: Any) -> None:
    """List the importance methods: how each scores a channel, what it needs, its settings and where it comes from."""
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.importance.method import METHODS
    from onnxprune.report.methods import broken_blocks, method_blocks, method_json

    if flags["as_json"]:
        print_json([method_json(method) for method in METHODS.values()])
    else:
        listed = [block for method in METHODS.values() for block in method_blocks(method)]
        print_blocks([*listed, *broken_blocks(METHODS.broken)])
