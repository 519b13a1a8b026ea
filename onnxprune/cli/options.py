"""From a configuration to a command: its fields become options, and what was given becomes the configuration."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
import click
from click.core import ParameterSource

from onnxprune.cli.sections import Command, ListedOption, help_all
from onnxprune.errors import InputError, did_you_mean
from onnxprune.pipeline.config.base import (
    Config,
    ConfigError,
    Option,
    flags_of,
    keyword_of,
    option,
    options_of,
    read_fields,
)
from onnxprune.pipeline.config.file import joined, read_file
from onnxprune.pipeline.config.groups import RUN, SECTIONS, TALK, SingleLayers, Subject

C = TypeVar("C", bound=Config)

FILE = "config_file"
STEER = "steer_file"


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class Talk(Config):
    """How a command speaks."""

    as_json: bool = attrs.field(default=False, metadata=option("Print the result as one JSON object.", TALK, "--json"))
    verbose: bool = attrs.field(
        default=False, metadata=option("Say more: every group, class and reason.", TALK, "-v --verbose")
    )
    quiet: bool = attrs.field(
        default=False,
        metadata=option(
            "No messages or progress; of a pruned model the verdict alone, in one line.", TALK, "-q --quiet"
        ),
    )
    progress: str = attrs.field(
        default="text",
        metadata=option(
            "How messages and progress are shown on stderr.",
            TALK,
            choices=("text", "json", "none"),
            default="text",
            rare=True,
            more="json: one JSON object a line, for programs.",
        ),
    )
    debug: bool = attrs.field(default=False, metadata=option("Show the traceback where something fails.", TALK))


class Job(Command, Generic[C]):
    """A command that is given one configuration."""

    def __init__(self, config: type[C], work: Callable[[C, Talk], None], without: tuple[str, ...], **more: Any) -> None:
        """Take the class of the configuration, the work, fields of `Talk` that have no say, and what click takes."""
        talk = {name: found for name, found in options_of(Talk).items() if name not in without}
        known = {**options_of(config), **talk}
        params: list[click.Parameter] = [_parameter(*found) for found in known.values()]
        named = [param for param in params if isinstance(param, ListedOption)]
        named += _files(issubclass(config, SingleLayers))
        order = {title: number for number, title in enumerate(SECTIONS)}
        named.sort(key=lambda param: order.get(param.section, len(order)))
        arguments = [param for param in params if isinstance(param, click.Argument)]
        super().__init__(params=[*arguments, *named, help_all(TALK)], callback=None, **more)
        self.config, self.work, self._talk = config, work, talk

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read settings of the method, which are no options of the command, as such."""
        if "options" in options_of(self.config):
            from onnxprune.cli.settings import with_settings

            args = with_settings(args, self.params)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Do the work with what was given."""
        typed = {name: value for name, value in ctx.params.items() if _is_given(ctx, name)}
        spoken = {name: self._talked(name, typed[name]) for name in self._talk if name in typed}
        talk = Talk(**spoken)
        if STEER in typed and FILE in typed:
            raise click.UsageError("--steer is the old name of --config; give one of the two.", ctx=ctx)
        if STEER in typed and not talk.quiet:
            _warn("--steer is deprecated; use --config, which reads the same file.", as_json=talk.progress == "json")
        self.work(self._configured(ctx, typed, typed.get(FILE) or typed.get(STEER)), talk)

    def _configured(self, ctx: click.Context, typed: dict[str, Any], file: Path | None) -> C:
        """Return the configuration, with paths that will do.

        Raises:
            click.UsageError: a value that cannot be, or one that is missing.
            InputError: values that contradict each other, or a file that will not do.
        """
        fields = options_of(self.config)
        spoken = {name: self._value(name, value) for name, value in typed.items() if name in fields}
        read = {} if file is None else read_file(file, self.config)
        values = joined(read, spoken, self.config)
        for name, (field, _) in fields.items():
            if field.default is attrs.NOTHING and name not in values:
                raise click.MissingParameter(ctx=ctx, param=_param(self, name))
        takes = file is not None and issubclass(self.config, Subject)
        also = {"also_read": {"the configuration": file}} if takes else {}
        by_keyword = {keyword_of(fields[name][0]): name for name in values}
        try:
            config = self.config(**{keyword: values[name] for keyword, name in by_keyword.items()}, **also)
        except ConfigError as error:
            name = by_keyword[error.field]
            if name in spoken:
                raise click.BadParameter(error.text, ctx=ctx, param=_param(self, name)) from None
            raise InputError(
                f"'{file}': {flags_of(fields[name][0])[-1].removeprefix('--')} = {error.text}.", "bad-value"
            ) from None
        _check_model(config)
        return config

    def _talked(self, name: str, value: Any) -> Any:
        """Return what an option of `Talk` stands for.

        Raises:
            click.BadParameter: none of the values there are.
        """
        _, known = self._talk[name]
        if not known.choices:
            return True
        if value not in known.values:
            nearest = did_you_mean(str(value), known.values)
            said = f"{value!r} is not one of {', '.join(known.values)}{nearest}"
            raise click.BadParameter(said, param=_param(self, name))
        return value

    def _value(self, name: str, value: Any) -> Any:
        """Return what a switch stands for, and all else as it is."""
        field, known = options_of(self.config)[name]
        return not field.default if _is_switch(field, known) else value


def _warn(text: str, *, as_json: bool) -> None:
    if as_json:
        from onnxprune.cli.json_lines import write_line

        write_line(sys.stderr, {"event": "warning", "message": text})
    else:
        click.echo(f"Warning: {text}", err=True)


def job(
    config: type[C], *, examples: tuple[str, ...], without: tuple[str, ...] = ()
) -> Callable[[Callable[[C, Talk], None]], Job[C]]:
    """Return a decorator that makes a command of a function of a configuration."""

    def decorate(work: Callable[[C, Talk], None]) -> Job[C]:
        return Job(config, work, without, name=work.__name__, help=work.__doc__, examples=examples)

    return decorate


def _is_switch(field: "attrs.Attribute[Any]", known: Option) -> bool:
    return isinstance(field.default, bool) and not known.choices


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and ctx.params[name] not in ((), None)


def _parameter(field: "attrs.Attribute[Any]", known: Option) -> click.Parameter:
    """Return the option, or the argument, that a field is."""
    if known.argument:
        return click.Argument([field.name], required=False, metavar=known.metavar)
    names = [*flags_of(field), field.name]
    shared: dict[str, Any] = {"section": known.section, "help": known.short(), "more": known.full, "rare": known.rare}
    if _is_switch(field, known):
        return ListedOption(names, is_flag=True, **shared)
    metavar = known.metavar or f"[{'|'.join(known.values)}]"
    return ListedOption(names, type=str, metavar=metavar, multiple=known.many, **shared)


def _files(steered: bool) -> list[ListedOption]:
    """Return the options that name a configuration file."""
    file = click.Path(path_type=Path, dir_okay=False)
    text = "Read options from this file; the command line goes before it."
    named = ListedOption(["--config", FILE], type=file, metavar="FILE.toml", help=text, section=RUN)
    old = "Deprecated: the same as --config."
    return [
        named,
        *(
            [ListedOption(["--steer", STEER], type=file, metavar="FILE.toml", help=old, section=RUN, rare=True)]
            * steered
        ),
    ]


def _param(command: click.Command, name: str) -> click.Parameter:
    return next(param for param in command.params if param.name == name)


def _check_model(config: Any) -> None:
    """Refuse a model that is not there, before anything else is said.

    Raises:
        InputError: there is none.
    """
    from onnxprune.graph.storage.paths import check_input

    if hasattr(config, "model"):
        check_input(config.model)
