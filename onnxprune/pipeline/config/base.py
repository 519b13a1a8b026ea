"""What a configuration is made of: fields that know how they are read, what they are called and what they are for."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import get_annotations, signature
from textwrap import fill
from typing import Any, ParamSpec, TypeVar, get_args

import attrs

from onnxprune.errors import InputError, OnnxPruneError, did_you_mean
from onnxprune.pipeline.config.method_settings import with_method_settings

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")

_OPTION = "option"

LONGEST = 300
"""Characters that are quoted of a value at most."""


@attrs.frozen(kw_only=True)
class Option:
    """How people meet a field.

    Attributes:
        help: one short line.
        more: what else there is to say, or what says it, for the reference, the docstring and `--help-all`.
        python: the same line for Python, where a keyword says the opposite of a flag; empty: `help`.
        section: the heading that it stands under.
        flags: how the command line spells it; none: as the field is called. `-o` and the like come first.
        metavar: what stands for its value.
        choices: the values there are, or what lists them; none: any.
        default: what happens where it is not given, as the help shows it.
        rare: whether only `--help-all` lists it.
        many: whether it may be given several times.
        argument: whether it has no name on the command line.
    """

    help: str
    section: str
    python: str = ""
    more: str | Callable[[], str] = ""
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    choices: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()
    default: str | None = None
    rare: bool = False
    many: bool = False
    argument: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """The values there are; none: any."""
        return self.choices() if callable(self.choices) else self.choices

    def full(self, *, python: bool = False) -> str:
        """Return all that there is to say, for the command line or for `python`."""
        if python and self.python:
            return self.python
        more = self.more if isinstance(self.more, str) else self.more()
        default = f"Default: {self.default}." if self.default is not None else ""
        return " ".join(part for part in (self.help, more, default) if part)

    def short(self) -> str:
        """Return one short line."""
        return self.help if self.default is None else f"{self.help} [{self.default}]"


def option(short: str, section: str, flags: str = "", **more: Any) -> dict[str, Any]:
    """Return the metadata of a field that is an option, for `attrs.field(metadata=...)`; see `Option`."""
    return {_OPTION: Option(help=short, section=section, flags=tuple(flags.split()), **more)}


def option_of(field: "attrs.Attribute[Any]") -> Option | None:
    """Return how people meet a field; None: from Python alone."""
    found: Option | None = field.metadata.get(_OPTION)
    return found


def options_of(config: type) -> dict[str, tuple["attrs.Attribute[Any]", Option]]:
    """Return the fields of a configuration that are options, by their names."""
    found = ((field, option_of(field)) for field in attrs.fields(config))
    return {field.name: (field, option) for field, option in found if option is not None}


def flags_of(field: "attrs.Attribute[Any]") -> tuple[str, ...]:
    """Return how the command line spells a field."""
    option = option_of(field)
    return option.flags if option is not None and option.flags else (f"--{field.name.strip('_').replace('_', '-')}",)


def keyword_of(field: "attrs.Attribute[Any]") -> str:
    """Return how Python spells a field."""
    return field.alias or field.name.lstrip("_")


class ConfigError(InputError):
    """A value that a field cannot take.

    Attributes:
        field: the field's name.
        text: what is wrong, beginning with the value.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}={text}", "bad-value")
        self.field = field
        self.text = text


class Config:
    """Base of all configurations."""


def parts(config: Any, *bases: type) -> dict[str, Any]:
    """Return the values of the fields that a configuration has from `bases`, by their keywords."""
    return {keyword_of(field): getattr(config, field.name) for base in bases for field in attrs.fields(base)}


def read_fields(cls: type, fields: list["attrs.Attribute[Any]"]) -> list["attrs.Attribute[Any]"]:
    """Let every converter name its field where it refuses a value, and hold fields to their choices.

    It is the `field_transformer` of every configuration.
    """
    own = get_annotations(cls)
    return [field.evolve(converter=_reader(field)) if field.name in own else field for field in fields]


def _reader(field: "attrs.Attribute[Any]") -> Callable[[Any], Any]:
    convert: Any = field.converter
    option = option_of(field)
    kinds = tuple(kind for kind in get_args(field.type) or (field.type,) if isinstance(kind, type))

    def read(value: Any) -> Any:
        try:
            if convert is None and option is not None and not isinstance(value, kinds):
                raise ValueError(f"{value!r} is no text")
            found = value if convert is None else convert(value)
            if option is not None and option.choices and isinstance(found, str) and found not in option.values:
                nearest = did_you_mean(found, option.values)
                raise ValueError(f"{found!r} is not one of {', '.join(option.values)}{nearest}")
        except ValueError as error:
            raise ConfigError(keyword_of(field), _shortened(str(error))) from None
        except (TypeError, AttributeError, OverflowError) as error:
            raise ConfigError(keyword_of(field), _shortened(f"{value!r} will not do ({error})")) from None
        return found

    if convert is not None:
        return wraps(convert)(read)
    read.__annotations__ = {} if field.type is None else {"value": field.type}
    return read


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


def in_keywords(config: type) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of functions for Python, whose errors then say `macs=50%` and not `--macs 50%`.

    Args:
        config: what has the options that errors name.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except OnnxPruneError as error:
                error.args = (_in_python(str(error), config),)
                raise

        return call

    return decorate


def _in_python(text: str, config: type) -> str:
    """Return a text about options in terms of keywords."""
    fields = options_of(config).values()
    keywords = _keywords_by_flag(field for field, _ in fields)
    values = "|".join(("[0-9A-Z*'\"]", *(rf"{choice}\b" for _, option in fields for choice in option.values)))

    def keyword(found: re.Match[str]) -> str:
        name = keywords.get(found[1], found[1][2:].replace("-", "_"))
        if not found[1].startswith("--") and found[1] not in keywords:
            return found[0]
        return f"{name}=False" if found[1].startswith("--no-") else f"{name}="

    return re.sub(rf"(?<!\w)(--?[a-z][a-z0-9-]*)(=| (?={values}))?", keyword, text)


def _keywords_by_flag(fields: Iterable["attrs.Attribute[Any]"]) -> dict[str, str]:
    return {flag: keyword_of(field) for field in fields for flag in flags_of(field)}


def keywords_of(config: Callable[P, C]) -> Callable[[Callable[[C], R]], Callable[P, R]]:
    """Return a decorator that turns a function of a configuration into one of its fields, documented and typed.

    The fields' help is added to the docstring; a placeholder `{arguments}` says where.
    """
    taken = signature(config)

    def decorate(function: Callable[[C], R]) -> Callable[P, R]:
        @in_keywords(config)  # type: ignore[arg-type]
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            told: Any = with_method_settings(kwargs, taken.parameters, "options")
            try:
                taken.bind(*args, **told)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(config(*args, **told))

        call.__name__ = call.__qualname__ = function.__name__
        call.__module__ = function.__module__
        call.__doc__ = (function.__doc__ or "").replace("{arguments}", _arguments(config))
        call.__signature__ = taken.replace(return_annotation=signature(function).return_annotation)  # type: ignore[attr-defined]
        return call

    return decorate


def _arguments(config: Any) -> str:
    """Return a line for every field, positional ones first, as the arguments of a docstring."""
    fields = sorted(attrs.fields(config), key=lambda field: field.kw_only)
    flags = _keywords_by_flag(fields)
    lines = []
    for field in fields:
        known = option_of(field)
        text = field.metadata.get("help", "") if known is None else known.full(python=True)
        spoken = re.sub(r"--[a-z][a-z-]*", lambda found: flags.get(found[0], found[0]), text)
        lines.append(fill(f"{keyword_of(field)}: {spoken}", 118, initial_indent=" " * 8, subsequent_indent=" " * 12))
    return "\n".join(("Args:", *lines))


def given(**values: Any) -> Mapping[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}
