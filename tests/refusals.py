"""What onnxprune refuses, by the code of the error and the things that its message names."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from onnxprune.errors import Code, OnnxPruneError


@contextmanager
def refused(code: Code, *things: str) -> Iterator[pytest.ExceptionInfo[OnnxPruneError]]:
    """Hold that what is done inside is refused with this code, in a message that names these things."""
    with pytest.raises(OnnxPruneError) as caught:
        yield caught
    told = str(caught.value)
    assert caught.value.code == code, told
    for thing in things:
        assert thing in told
