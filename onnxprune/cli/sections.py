"""Commands whose help lists options by section, the common ones first and the rare ones on demand."""

from itertools import groupby
from typing import Any

import click


class ListedOption(click.Option):
    """An option with the heading that it is listed under, and all that there is to say of it."""

    def __init__(self, *args: Any, section: str, more: Any = None, rare: bool = False, **kwargs: Any) -> None:
        """Take what click takes, the section, what returns the long help, and whether `--help` leaves it out."""
        super().__init__(*args, **kwargs)
        self.section = section
        self.rare = rare
        self._more = more

    def full(self) -> str:
        """Return all that there is to say."""
        return str(self._more()) if self._more is not None else self.help or ""


class WithExamples(click.Command):
    """A command, or a group of them, whose help shows command lines under its description."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **kwargs: Any) -> None:
        """Take what click takes, and command lines to show."""
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description and the examples."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Command(WithExamples):
    """A command that lists its options by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of options for each section: short, or with `--help-all` everything."""
        whole = bool(ctx.meta.get(ALL))
        for title, options in sections(self, ctx):
            shown = [option for option in options if whole or not (isinstance(option, ListedOption) and option.rare)]
            records = [record for option in shown if (record := record_of(option, ctx, whole=whole)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


ALL = "onnxprune.help_all"


def record_of(option: click.Parameter, ctx: click.Context, *, whole: bool) -> tuple[str, str] | None:
    """Return how an option is spelled and what it does, in short or in full."""
    record = option.get_help_record(ctx)
    return (record[0], option.full()) if record is not None and whole and isinstance(option, ListedOption) else record


def _show_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def help_all(section: str) -> ListedOption:
    """Return the option that shows everything there is."""
    text = "Show all options, with all that there is to say of them."
    return ListedOption(
        ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all, help=text, section=section
    )


def sections(command: click.Command, ctx: click.Context) -> list[tuple[str, list[click.Parameter]]]:
    """Return the options of `command` by section; click's own come last."""
    options = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
    order = list(dict.fromkeys(_section(option) for option in options))
    ranked = sorted(options, key=lambda option: order.index(_section(option)))
    return [(title, list(found)) for title, found in groupby(ranked, key=_section)]


def _section(option: click.Parameter) -> str:
    return option.section if isinstance(option, ListedOption) else "Messages"
