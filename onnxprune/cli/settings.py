"""Settings of an importance method as options of the command line: `--vote` is `--option rule=vote`."""

from collections.abc import Iterator, Sequence

import click

from onnxprune.importance import DEFAULT_METHOD


def with_settings(args: Sequence[str], params: Sequence[click.Parameter]) -> list[str]:
    """Return the arguments with every option that only a method knows as an `--option`; methods are loaded for those.

    Args:
        args: of the command.
        params: that the command has itself.

    Raises:
        click.UsageError: a setting without a value.
    """
    known = {word: param for param in params if isinstance(param, click.Option) for word in param.opts}
    return list(_read(list(args), known))


def _read(args: list[str], known: dict[str, click.Option]) -> Iterator[str]:
    chosen = _chosen(args)
    while args:
        arg = args.pop(0)
        word, equals, value = arg.partition("=")
        if arg == "--":
            yield from (arg, *args)
            return
        if not arg.startswith("--") or word in known or word == "--help":
            yield arg
            if arg in known and not known[arg].is_flag and args:
                yield args.pop(0)
            continue
        from onnxprune.importance.method import spelled  # methods take numpy, which `--help` does without

        found = spelled(word.removeprefix("--"), chosen)
        if found is None:
            yield arg
            continue
        name, stands_for = found
        if stands_for is not None and equals:
            raise click.UsageError(f"Option '{word}' does not take a value.")
        if stands_for is None:
            if not equals and not args:
                raise click.UsageError(f"Option '{word}' requires an argument.")
            stands_for = value if equals else args.pop(0)
        yield from ("--option", f"{name}={stands_for}")


def _chosen(args: Sequence[str]) -> str:
    """Return the method that the command line names, if any."""
    for arg, after in zip(args, (*args[1:], ""), strict=True):
        if arg == "--method" or arg.startswith("--method="):
            return after if arg == "--method" else arg.partition("=")[2]
    return DEFAULT_METHOD
