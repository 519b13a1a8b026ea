"""Kill a run in steps at random moments, resume it, and compare with a run that nobody stopped.

    python benchmarks/kill.py MODEL --data DATA [--kills 10] [--steps 5] [--seed 0] [-- OPTIONS OF ONNXPRUNE]

After every kill the input has to be as it was, every .onnx file in the output folder has to be whole, and the resumed
run has to end with the bytes of the run that nobody stopped. Prints a table; the exit code is 1 if any does not.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import onnx

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.tables import table  # noqa: E402


@dataclass(frozen=True)
class Killed:
    """What one kill left, and what the run that went on came to.

    Attributes:
        moment: seconds after the start.
        code: how the process ended: -9, or 0 where it was done before.
        steps: finished ones that the journal had.
        left: files of the output folder, temporary folders included.
        whole: whether every .onnx file there is one.
        untouched: whether the input is as it was.
        same: whether the resumed run ended with the bytes of the whole run, and nothing else in the folder.
    """

    moment: float
    code: int
    steps: int
    left: int
    whole: bool
    untouched: bool
    same: bool

    @property
    def good(self) -> bool:
        """Whether everything is as it should be."""
        return self.whole and self.untouched and self.same


def command(arguments: argparse.Namespace, folder: Path, *more: str) -> list[str]:
    """Return the command line of a run with its output in `folder`."""
    job = [sys.executable, "-m", "onnxprune", str(arguments.model), "--data", str(arguments.data), "--quiet"]
    return [*job, "--steps", str(arguments.steps), *arguments.options, "-o", str(folder / "out.onnx"), *more]


def files(folder: Path) -> dict[str, str]:
    """Return the digests of all files under a folder by their names."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def is_whole(path: Path) -> bool:
    """Whether a file is a valid model."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception:
        return False
    return True


def steps_done(folder: Path) -> int:
    """Return how many steps the journal has; a damaged one raises."""
    journal = folder / "out.steps.json"
    return len(json.loads(journal.read_text())["left"]) if journal.exists() else 0


def killed(arguments: argparse.Namespace, moment: float, whole: dict[str, str]) -> Killed:
    """Kill a run at a moment, look at what it left, and go on with it."""
    before = hashlib.sha256(arguments.model.read_bytes()).digest()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with subprocess.Popen(command(arguments, folder), stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.kill()
        left, steps = files(folder), steps_done(folder)
        sound = all(is_whole(path) for path in folder.glob("*.onnx"))
        more = ("--resume",) if (folder / "out.steps.json").exists() else ()
        if more or process.returncode:
            subprocess.run(command(arguments, folder, *more), stdout=subprocess.DEVNULL, check=True)
        untouched = hashlib.sha256(arguments.model.read_bytes()).digest() == before
        return Killed(moment, process.returncode, steps, len(left), sound, untouched, files(folder) == whole)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = list(sys.argv[1:] if argv is None else argv)
    own, options = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    arguments = parser.parse_args(own)
    arguments.options = options or ["--macs", "50%"]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(command(arguments, Path(folder)), stdout=subprocess.DEVNULL, check=True)
        duration, whole = time.perf_counter() - start, files(Path(folder))
    print(f"The whole run took {duration:.1f} s and wrote {', '.join(whole)}; seed {arguments.seed}.\n")
    chance = random.Random(arguments.seed)
    found = [killed(arguments, chance.uniform(0, duration), whole) for _ in range(arguments.kills)]
    columns = ("moment", "exit code", "steps done", "files left", "models whole", "input untouched", "same bytes")
    print(table(columns, [rows(one) for one in found]))
    return 0 if all(one.good for one in found) else 1


def rows(one: Killed) -> list[str]:
    """Return the cells of a row."""
    words = ["yes" if good else "NO" for good in (one.whole, one.untouched, one.same)]
    return [f"{one.moment:.1f} s", str(one.code), str(one.steps), str(one.left), *words]


if __name__ == "__main__":
    sys.exit(main())
