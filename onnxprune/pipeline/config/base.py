"""What a configuration is made of: fields that know how they are read, what they are called and what they are for."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import get_annotations, signature
from textwrap import fill
from typing import Any, ParamSpec, TypeVar

import attrs

from onnxprune.errors import InputError

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")

_SHELL: ContextVar[bool] = ContextVar("shell", default=False)
_OPTION = "option"


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
        super().__init__(f"{field}={text}")
        self.field = field
        self.text = text


@contextmanager
def on_the_shell() -> Iterator[None]:
    """Call options as the command line does while this lasts: `--macs`, not `macs=`."""
    token = _SHELL.set(True)
    try:
        yield
    finally:
        _SHELL.reset(token)


class Config:
    """Base of all configurations."""

    def called(self, *names: str) -> str:
        """Return what the caller calls fields: `--macs` and `macs=`, joined by commas and an `and`."""
        fields = attrs.fields_dict(type(self))  # type: ignore[arg-type]
        known = [flags_of(fields[name])[-1] if _SHELL.get() else f"{keyword_of(fields[name])}=" for name in names]
        return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"


def read_fields(cls: type, fields: list["attrs.Attribute[Any]"]) -> list["attrs.Attribute[Any]"]:
    """Let every converter name its field where it refuses a value, and hold fields to their choices.

    It is the `field_transformer` of every configuration.
    """
    own = get_annotations(cls)
    return [field.evolve(converter=_reader(field)) if field.name in own else field for field in fields]


def _reader(field: "attrs.Attribute[Any]") -> Callable[[Any], Any]:
    convert: Any = field.converter
    option = option_of(field)

    def read(value: Any) -> Any:
        try:
            found = value if convert is None else convert(value)
            if option is not None and option.choices and isinstance(found, str) and found not in option.values:
                raise ValueError(f"{found!r} is not one of {', '.join(option.values)}")
        except ValueError as error:
            raise ConfigError(keyword_of(field), str(error)) from None
        except (TypeError, AttributeError) as error:
            raise ConfigError(keyword_of(field), f"{value!r} will not do ({error})") from None
        return found

    if convert is not None:
        return wraps(convert)(read)
    read.__annotations__ = {} if field.type is None else {"value": field.type}
    return read


def keywords_of(config: Callable[P, C]) -> Callable[[Callable[[C], R]], Callable[P, R]]:
    """Return a decorator that turns a function of a configuration into one of its fields, documented and typed.

    The fields' help is added to the docstring; a placeholder `{arguments}` says where.
    """
    taken = signature(config)

    def decorate(function: Callable[[C], R]) -> Callable[P, R]:
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                taken.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(config(*args, **kwargs))

        call.__name__ = call.__qualname__ = function.__name__
        call.__module__ = function.__module__
        call.__doc__ = (function.__doc__ or "").replace("{arguments}", _arguments(config))
        call.__signature__ = taken.replace(return_annotation=signature(function).return_annotation)  # type: ignore[attr-defined]
        return call

    return decorate


def _arguments(config: Any) -> str:
    """Return a line for every field, positional ones first, as the arguments of a docstring."""
    fields = sorted(attrs.fields(config), key=lambda field: field.kw_only)
    flags = {flag: keyword_of(field) for field in fields for flag in flags_of(field)}
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
