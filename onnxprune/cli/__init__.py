"""The command line: one command, one file. stdout is the result, stderr is messages and progress."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    try:
        from onnxprune.cli.program import main as run
    except KeyboardInterrupt:
        if sys.stderr is not None:
            print("onnxprune: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
    run()
