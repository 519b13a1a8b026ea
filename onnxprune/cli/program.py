"""The program: a group of commands of which `prune` may go unnamed."""

import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import click

from onnxprune._version import __version__
from onnxprune.cli.exits import Programs, Terminated, guarded
from onnxprune.cli.sections import WithExamples
from onnxprune.cli.standard_streams import guard

MAIN_JOB = "prune"
COMMANDS: Mapping[str, str] = {
    "prune": "Prune a model (the word `prune` may be left out).",
    "apply": "Cut a model by a plan that was made before.",
    "finetune": "Train a model's weights where they are (needs torch).",
    "iterate": "Prune and train in turns (needs torch).",
    "inspect": "List a model's channel groups and why some are frozen.",
    "check": "Show that a pruned model is what its plan makes of the original.",
    "compare": "Measure two models side by side on the same data.",
    "profile": "Time a model's layers on this machine, or pack what times them on a device.",
    "methods": "List the importance methods.",
}
"""What there is, one file each in this folder, which is read when its command is called."""

_OWN = ("--help", "-h", "--version")


def _terminated(number: int, _: Any) -> NoReturn:
    """Leave as an interrupted command does, so that nothing half done is left lying about."""
    raise Terminated


class CommandGroup(WithExamples, click.Group):
    """A group whose unknown first argument means the main job, and whose failures are one sentence."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Run, and leave with an exit code."""
        arguments = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        with suppress(ValueError):  # only the main thread may
            signal.signal(signal.SIGTERM, _terminated)
        work = super().main
        run = partial(work, arguments, prog_name or "onnxprune", **extra)
        sys.exit(guarded(run, debug="--debug" in arguments, programs=_programs(arguments)))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the main job's name in front where no command is named."""
        if args and args[0] not in COMMANDS and args[0] not in _OWN:
            self._refuse_typo(ctx, args)
            args = [MAIN_JOB, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Read the file of a command."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"onnxprune.cli.{cmd_name}"), cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without reading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def _refuse_typo(self, ctx: click.Context, args: list[str]) -> None:
        """Tell a mistyped command from a model file."""
        from difflib import get_close_matches

        close = get_close_matches(args[0], COMMANDS, n=1, cutoff=0.75)
        if close and "." not in args[0] and not Path(args[0]).exists():
            raise click.UsageError(
                f"There is no command '{args[0]}' and no such model; did you mean '{close[0]}'?", ctx
            )

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show both ways of calling."""
        name = ctx.command_path
        formatter.write_usage(name, "MODEL --data PATH [OPTIONS]")
        formatter.write_usage(name, "COMMAND [ARGS]...", prefix="       ")


def _programs(arguments: Sequence[str]) -> Programs:
    """Return where programs read what is said; also of a command line that cannot be read otherwise."""
    progress = "--progress=json" in arguments or ("--progress", "json") in pairwise(arguments)
    return Programs("--json" in arguments, progress)


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


def main() -> NoReturn:
    """Run the command line."""
    guard()
    program.main()
