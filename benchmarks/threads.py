"""How many threads a benchmark takes."""

import os

from onnxprune.runtime import Session


def limit_threads(count: int) -> None:
    """Have sessions of this process run on `count` threads, and numpy of the processes that it starts."""
    os.environ["OPENBLAS_NUM_THREADS"] = str(count)  # read when numpy is imported
    assert Session.__init__.__kwdefaults__ is not None
    Session.__init__.__kwdefaults__["threads"] = count
