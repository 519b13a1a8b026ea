"""The command line: one command, one file. stdout is the result, stderr is messages and progress."""

from onnxprune.cli.program import main

__all__ = ["main"]
