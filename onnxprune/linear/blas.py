"""One thread for numpy's linear algebra while a run lasts, see decision 41."""

from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg  # noqa: F401 (so that its own BLAS is loaded, and limited too)
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@contextmanager
def one_thread() -> Iterator[None]:
    """Have BLAS run on one thread; what it had before comes back at the end.

    A run does many products and solves of matrices with tens to some hundreds of rows, which threads of BLAS only wait
    for each other in. Large products are done by onnxruntime and torch, whose threads stay.
    """
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        yield
