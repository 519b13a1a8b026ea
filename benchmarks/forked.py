"""The command line in processes of their own, which begin with the modules of this one."""

import importlib
import io
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from onnxprune.cli import prune as _prune  # noqa: F401 (read once, in front of all forks)
from onnxprune.cli.program import program

LOST = 99
"""The exit code where it ends by no SystemExit."""


class Ended(NamedTuple):
    """How a process ended: exit code, or minus the signal; CPU seconds; bytes at its largest; what it said."""

    code: int
    seconds: float
    size: int
    said: str

    @property
    def errors(self) -> list[str]:
        """The sentences that say what went wrong."""
        return [line for line in self.said.splitlines() if line.startswith("onnxprune: ")]


def forked(
    arguments: Sequence[str], said: Path, patience: float, prepare: Callable[[], object] = lambda: None
) -> Ended:
    """Run a command in a process of its own.

    Args:
        arguments: the command line.
        said: a file for what it prints.
        patience: seconds after which it is killed; half of them of CPU time end it too.
        prepare: done in the process first.
    """
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(arguments, said, patience, prepare)
    while True:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            text = said.read_text(errors="replace") if said.exists() else ""
            seconds = used.ru_utime + used.ru_stime
            return Ended(os.waitstatus_to_exitcode(status), seconds, used.ru_maxrss << 10, text)
        if time.monotonic() - began > patience:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


def at_exit(work: Callable[[], object]) -> None:
    """Do `work` in front of os._exit, which a forked command ends with."""
    leave = os._exit

    def left(code: int) -> Any:
        work()
        leave(code)

    os._exit = left  # type: ignore[assignment]


def import_as(arguments: Sequence[str], said: Path, patience: float) -> None:
    """Import what a command imports as it runs, so that forks from here on have it."""
    names = said.with_name("modules")
    forked(arguments, said, patience, lambda: at_exit(lambda: names.write_text("\n".join(sys.modules))))
    for name in names.read_text().splitlines():
        importlib.import_module(name)


def _child(arguments: Sequence[str], said: Path, patience: float, prepare: Callable[[], object]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (int(patience / 2), int(patience / 2)))
    with said.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = io.TextIOWrapper(io.FileIO(1, "wb")), io.TextIOWrapper(io.FileIO(2, "wb"))
    code: Any = LOST
    try:
        prepare()
        program.main(arguments)
    except SystemExit as leaving:
        code = leaving.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else LOST)
