"""The reference of the command line, from the commands themselves."""

from collections.abc import Iterator

import click

from onnxprune.cli.program import program
from onnxprune.cli.sections import record_of, sections


def reference() -> str:
    """Return all commands and options as Markdown."""
    return "\n".join(_lines()).rstrip() + "\n"


def commands() -> dict[str, click.Command]:
    """Return all commands by name."""
    ctx = click.Context(program)
    found = {name: program.get_command(ctx, name) for name in program.list_commands(ctx)}
    return {name: command for name, command in found.items() if command is not None}


def _lines() -> Iterator[str]:
    root = click.Context(program, info_name="onnxprune", **program.context_settings)
    yield from ("# Command line", "", *_prose(program), "")
    yield from ("```", *program.get_usage(root).removeprefix("Usage: ").replace("\n       ", "\n").splitlines(), "```")
    yield ""
    for name, command in commands().items():
        ctx = click.Context(command, info_name=name, parent=root)
        yield from (f"## onnxprune {name}", "", "```", command.get_usage(ctx).removeprefix("Usage: "), "```", "")
        yield from (*_prose(command), "")
        for title, options in sections(command, ctx):
            yield from (f"### {title}", "", "| option | meaning |", "|---|---|")
            for option in options:
                record = record_of(option, ctx, whole=True)
                if record is not None:
                    yield f"| `{_cell(record[0])}` | {_cell(' '.join(record[1].split()))} |"
            yield ""


def _prose(command: click.Command) -> Iterator[str]:
    """Yield the help text and the examples."""
    for number, paragraph in enumerate((command.help or "").split("\n\n")):
        if number:
            yield ""
        yield from (line.strip() for line in paragraph.strip().splitlines())
    examples = getattr(command, "examples", ())
    if examples:
        yield from ("", "```", *examples, "```")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
