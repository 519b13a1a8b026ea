"""Everything that a command, or a call from Python, can be told: one typed, frozen value for each.

An option is added in one place, as a field of a class in `groups` or `jobs`. From there come the command line with its
help, the keywords of `onnxprune.prune`, the keys of a configuration file and the reference in docs/cli.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxprune.pipeline.config.settings import Settings

__all__ = ["Settings"]


def __getattr__(name: str) -> Any:
    """Import `Settings` when it is first asked for: it takes numpy, which `--help` does without."""
    if name != "Settings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from onnxprune.pipeline.config.settings import Settings

    return Settings
