"""Options that know under which heading of `--help` they stand."""

from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class SectionedOption(click.Option):
    """An option with the heading that it is listed under."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        """Take what click takes, and the section."""
        super().__init__(*args, **kwargs)
        self.section = section


class WithExamples(click.Command):
    """A command, or a group of them, whose help shows command lines under its description."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **kwargs: Any) -> None:
        """Take what click takes, and command lines to show."""
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description and the examples."""
        super().format_help_text(ctx, formatter)
        write_examples(self.examples, formatter)


class Command(WithExamples):
    """A command that shows examples and lists its options by section, in the order in which they were declared."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of options for each section."""
        for title, options in sections(self, ctx):
            records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def write_examples(examples: tuple[str, ...], formatter: click.HelpFormatter) -> None:
    """Write command lines as they are, unwrapped."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def sections(command: click.Command, ctx: click.Context) -> list[tuple[str, list[click.Parameter]]]:
    """Return the options of `command` by section; click's own come last."""
    options = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
    order = list(dict.fromkeys(_section(option) for option in options))
    ranked = sorted(options, key=lambda option: order.index(_section(option)))
    return [(title, list(found)) for title, found in groupby(ranked, key=_section)]


def _section(option: click.Parameter) -> str:
    return option.section if isinstance(option, SectionedOption) else "Messages"


def section(title: str) -> Callable[..., Callable[[F], F]]:
    """Return a `click.option` for options under `title`."""
    return partial(click.option, cls=SectionedOption, section=title)


def stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return one decorator out of several, listed in reading order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
