"""How far a run wanders through the code: functions, files, turns between pipeline files, runtime sessions, repeats.

    python benchmarks/trace.py [FUNCTION ...] [--model MODEL] [--data FOLDER] [--json OUT.json]

Runs `onnxprune MODEL --data FOLDER --macs 50% --threads 1 --round-to 8` in this process, through the command line,
under `sys.setprofile`. A turn is a call of a function of onnxprune/pipeline after one that lies in another file of it,
whatever was called in between. Functions are distinct ones of the package, without module bodies, lambdas and
comprehensions. FUNCTION is a name whose calls are counted, in whatever file it lies; one that nothing calls counts 0.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import onnxruntime

import onnxprune
from onnxprune.cli.program import program

PACKAGE = Path(onnxprune.__file__).parent
PIPELINE = PACKAGE / "pipeline"
SAMPLES = Path(__file__).resolve().parents[1] / "sample_models"
ASKED = ("policy_of", "find_method", "refuse_unreachable", "settle", "check_outputs")
SESSION = onnxruntime.InferenceSession.__init__.__code__


@dataclass(frozen=True)
class Traced:
    """What a run did.

    Attributes:
        functions: distinct functions of the package that were called.
        files: distinct files that they lie in.
        turns: how often control passed to another pipeline file.
        sessions: runtime sessions that were opened.
        calls: how often each function that was asked about was called.
    """

    functions: int
    files: int
    turns: int
    sessions: int
    calls: dict[str, int] = field(default_factory=dict)


class Trace:
    """A profile function that counts calls, by code and by turn."""

    def __init__(self) -> None:
        self.calls: Counter[CodeType] = Counter()
        self.turns = 0
        self._last = ""

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Note a call; everything else passes."""
        if event != "call":
            return
        self.calls[frame.f_code] += 1
        file = frame.f_code.co_filename
        if _is_under(file, PIPELINE) and _is_named(frame.f_code):
            self.turns += bool(self._last) and file != self._last
            self._last = file

    def result(self, asked: Sequence[str] = ASKED) -> Traced:
        """What was counted."""
        own = {code: n for code, n in self.calls.items() if _is_under(code.co_filename, PACKAGE) and _is_named(code)}
        calls = {name: sum(n for code, n in own.items() if code.co_name == name) for name in asked}
        return Traced(len(own), len({code.co_filename for code in own}), self.turns, self.calls[SESSION], calls)


def _is_under(file: str, folder: Path) -> bool:
    return file.startswith(f"{folder}/")


def _is_named(code: CodeType) -> bool:
    return not code.co_name.startswith("<")


def trace(arguments: Sequence[str], asked: Sequence[str] = ASKED) -> Traced:
    """Run the command line with `arguments`, its output swallowed, and return what it did.

    Raises:
        SystemExit: the run failed.
    """
    counted, told = Trace(), io.StringIO()
    status: int | str | None = 0
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        before = sys.getprofile()
        sys.setprofile(counted)
        try:
            program.main(list(arguments))
        except SystemExit as ended:
            status = ended.code
        finally:
            sys.setprofile(before)
    if status not in (0, None):
        raise SystemExit(f"the run failed with {status}:\n{told.getvalue()}")
    return counted.result(asked)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*", help=f"names to count the calls of; default: {', '.join(ASKED)}")
    parser.add_argument("--model", type=Path, default=SAMPLES / "digits_resnet.onnx")
    parser.add_argument("--data", type=Path, default=SAMPLES / "calib")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        run = [str(given.model), "--data", str(given.data), "--macs", "50%", "--threads", "1", "--round-to", "8"]
        found = trace([*run, "-o", str(Path(folder) / "out.onnx")], given.functions or ASKED)
    for name, value in asdict(found).items():
        if name != "calls":
            print(f"{name:20}{value:6}")
    for name, value in found.calls.items():
        print(f"{name:20}{value:6} calls")
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(found), indent=1) + "\n")


if __name__ == "__main__":
    main()
