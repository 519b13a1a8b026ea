"""The program: a group of commands of which `prune` may go unnamed."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import click

from onnxprune._version import __version__
from onnxprune.cli.apply import apply
from onnxprune.cli.exits import guarded
from onnxprune.cli.finetune import finetune
from onnxprune.cli.inspect import inspect
from onnxprune.cli.iterate import iterate
from onnxprune.cli.methods import methods
from onnxprune.cli.profile import profile
from onnxprune.cli.prune import prune
from onnxprune.cli.sections import WithExamples

MAIN_JOB = "prune"
_OWN = ("--help", "-h", "--version")


class CommandGroup(WithExamples, click.Group):
    """A group whose unknown first argument means the main job, and whose failures are one sentence."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Run, and leave with an exit code."""
        arguments = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        work = super().main
        code = guarded(lambda: work(arguments, prog_name or "onnxprune", **extra), debug="--debug" in arguments)
        sys.exit(code)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the main job's name in front where no command is named."""
        if args and args[0] not in self.commands and args[0] not in _OWN:
            self._refuse_typo(ctx, args)
            args = [MAIN_JOB, *args]
        return super().parse_args(ctx, args)

    def _refuse_typo(self, ctx: click.Context, args: list[str]) -> None:
        """Tell a mistyped command from a model file."""
        close = get_close_matches(args[0], self.commands, n=1, cutoff=0.75)
        if close and "." not in args[0] and not Path(args[0]).exists():
            raise click.UsageError(
                f"There is no command '{args[0]}' and no such model; did you mean '{close[0]}'?", ctx
            )

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show both ways of calling."""
        name = ctx.command_path
        formatter.write_usage(name, "MODEL --data PATH [OPTIONS]")
        formatter.write_usage(name, "COMMAND [ARGS]...", prefix="       ")


@click.group(
    "onnxprune",
    cls=CommandGroup,
    examples=(
        "onnxprune model.onnx --data calib/ --method entropy    prune, check, measure, write",
        "onnxprune prune --help                                 all options of that",
        "onnxprune inspect model.onnx                           what can be pruned, and why not",
    ),
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="onnxprune")
@click.pass_context
def program(ctx: click.Context) -> None:
    """Prune the channels of any ONNX network by what they mean on sample images."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (prune, apply, finetune, iterate, inspect, profile, methods):
    program.add_command(command)


def main() -> NoReturn:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    program.main()
