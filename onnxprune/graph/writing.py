"""Writing files so that nothing is ever half written: to a temporary file beside the target, then renamed."""

import os
import tempfile
from pathlib import Path

import onnx

from onnxprune.errors import InputError


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".onnxprune-", suffix=".part")
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror}); name a folder that can be written.") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror}); free some space or name another place.") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def with_metadata(model: onnx.ModelProto, entries: dict[str, str]) -> onnx.ModelProto:
    """Set metadata entries of `model` in place, leaving the others as they are, and return it."""
    known = {entry.key: entry for entry in model.metadata_props}
    for key, value in entries.items():
        if key in known:
            known[key].value = value
        else:
            model.metadata_props.add(key=key, value=value)
    return model


def refuse_overwrite(output: Path, *inputs: Path) -> None:
    """Refuse an output path that is one of the inputs.

    Raises:
        InputError: it is.
    """
    for path in inputs:
        if (output.exists() and path.exists() and output.samefile(path)) or output.absolute() == path.absolute():
            raise InputError(f"The output {output} is the input itself; name another file with -o.")
