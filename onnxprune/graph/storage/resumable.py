"""Files that a stopped run goes on from: one form for all of them.

A file holds its format, what tells its run from any other (`run`), and where the run stands. It is replaced in one
step, so that whoever stops the run at any moment finds the state before or after. It is gone on from on request alone,
and by the run that it is of.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.errors import InputError
from onnxprune.graph.storage.staging import write_bytes
from onnxprune.values.ordinary_file import read_ordinary

Fields = Mapping[str, Any]


def json_bytes(fields: Fields) -> bytes:
    """Return fields as JSON."""
    return (json.dumps(fields, indent=1, sort_keys=False) + "\n").encode()


def json_fields(content: bytes) -> Any:
    """Return what `json_bytes` wrote.

    Raises:
        ValueError: it is no JSON.
    """
    return json.loads(content.decode("utf-8"))


def refuse_to_begin_over(path: Path) -> None:
    """Refuse to begin where a state is already.

    Raises:
        InputError: there is one.
    """
    if path.exists():
        raise InputError(f"'{path}' is there already; go on with --resume, or remove it.", "already-there")


@dataclass(frozen=True)
class Resumable:
    """A kind of state.

    Attributes:
        name: what messages call it.
        format: number of the form of its fields.
        encode, decode: from the fields to the content of a file, and back.
    """

    name: str
    format: int = 1
    encode: Callable[[Fields], bytes] = json_bytes
    decode: Callable[[bytes], Any] = json_fields

    def save(self, path: Path, run: Fields, fields: Fields) -> None:
        """Write where a run stands, in one step.

        Raises:
            InputError: it cannot be written there.
        """
        write_bytes(path, self.encode({"format": self.format, "run": dict(run), **fields}))

    def read(self, path: Path) -> dict[str, Any]:
        """Return the fields of a state that is to be gone on from.

        Raises:
            InputError: there is none, or it is damaged.
        """
        try:
            fields = dict(self.decode(read_ordinary(path)))
            if fields.pop("format") != self.format:
                raise ValueError("another version wrote it")
            if not isinstance(fields["run"], Mapping):
                raise ValueError("it does not say of which run it is")
        except FileNotFoundError:
            raise InputError(
                f"There is no {self.name} '{path}' to resume from; leave out --resume to begin.", "nothing-to-resume"
            ) from None
        except Exception as error:  # what a damaged file makes a decoder raise has no common name
            raise self.damaged(path, error) from None
        return fields

    def read_if(self, path: Path, *, resume: bool) -> dict[str, Any] | None:
        """Return the fields of a state that is to be gone on from; None where the run is to begin.

        Raises:
            InputError: as `read`, or there is something that would be begun anew over.
        """
        if resume:
            return self.read(path)
        refuse_to_begin_over(path)
        return None

    def check_run(self, path: Path, known: Fields, run: Fields) -> None:
        """Refuse to go on from the state of another run.

        Raises:
            InputError: it is of another; the message says in what.
        """
        known, mine = (json.loads(json.dumps(dict(facts))) for facts in (known, run))
        missing = object()
        other = sorted(name for name in {*known, *mine} if known.get(name, missing) != mine.get(name, missing))
        if other:
            raise InputError(
                f"'{path}' is of another run (other {', '.join(other)}); give what it was begun with, or remove it.",
                "other-run",
            )

    def damaged(self, path: Path, error: Exception) -> InputError:
        """Return what is said of a state that cannot be gone on from."""
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        return InputError(
            f"'{path}' is no {self.name}, or damaged ({reason}); remove it and begin anew.", "damaged-state"
        )
