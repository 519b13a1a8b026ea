"""Whether torch is there."""

from importlib.util import find_spec

from onnxprune.errors import InputError


def require_torch() -> None:
    """Refuse to go on where torch is not installed.

    Raises:
        InputError: it is not.
    """
    if find_spec("torch") is None:
        raise InputError('This needs torch, which is not installed; pip install "onnxprune[torch]".', "not-installed")
