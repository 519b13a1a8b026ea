"""Have each call of a run that reaches its files fail once, or a signal come in front of it, and look at what is left.

    python benchmarks/faults.py [--what fail,kill,term] [--every 1] [--only WHAT:CALL] [--rows FILE.jsonl]
                                [--page FILE.md]

Needs Linux and a C compiler: benchmarks/faults.c stands in front of the C library, and counts what reaches the input,
the output and the scratch folder (open, read, write, rename, link, mkdir, chmod, fsync and their like). The run prunes
a small network with a data file over an older result. For every call, the model and its plan have to be the older ones
or the new ones, both alike, and what was read as it was; the run has to end with a documented exit code and one
sentence; nothing but whole files may be left, except by SIGKILL. The next run has to end with the bytes of one that
nobody disturbed, and to leave nothing else. Rows are kept, and a run goes on where an earlier one stopped. Exit code 1
if anything was wrong.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("", "tests")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from large import NAMES, model, outside, packed  # noqa: E402

from benchmarks.forked import Ended, at_exit, forked  # noqa: E402
from benchmarks.rows import Row, Rows, survey  # noqa: E402
from benchmarks.stamp import stamp  # noqa: E402
from benchmarks.tables import table  # noqa: E402
from onnxprune.graph.storage.standing_in import OLDER  # noqa: E402
from onnxprune.graph.storage.weights import is_external, location, set_entries, stored_tensors  # noqa: E402
from onnxprune.pipeline.execution import evaluate  # noqa: E402

KEY = ("what", "call")
WHAT = {"fail": 0, "kill": signal.SIGKILL, "term": signal.SIGTERM}
PATIENCE = 60.0
FOLLOWED = 10
"""After one of so many runs that left everything as it was there is another; after all others there always is."""
FOLDERS = ("in", "out", "tmp")
MODEL = "small.onnx"

Files = Mapping[str, bytes]


class Place:
    """A folder with what a run reads, an older result, and room for temporary files."""

    def __init__(self, root: Path) -> None:
        """Make it under `root`."""
        self.root = root
        for folder in FOLDERS:
            (root / folder).mkdir()
        outside(model(), root / "in", packed(model(), NAMES, "weights.bin"))
        rng = np.random.default_rng(0)
        np.savez(root / "in" / "data.npz", x=rng.normal(size=(40, 1, 8, 8)).astype(np.float32))
        outside(model(), root / "out", packed(model(), NAMES, "weights.bin"), name=MODEL)
        (root / "out" / "small.plan.json").write_text("{}")
        self.older = self.files("out")

    def command(self) -> list[str]:
        """Return the run: all stages, with a report beside the model and the plan."""
        given = [str(self.root / "in" / "net.onnx"), "--data", str(self.root / "in" / "data.npz"), "--macs", "60%"]
        method = ["--method", "reconstruction", "--force", "--threads", "1", "--round-to", "1"]
        return [*given, *method, "-o", str(self.root / "out" / "small.onnx")]

    def run(self, library: ctypes.CDLL, call: int = 0, what: str = "fail") -> tuple[Ended, str]:
        """Run it with a fault at a call; 0: with none. Return what was at that call as well, if anything was."""
        told = self.root / "told"
        told.unlink(missing_ok=True)
        folders = ":".join(str(self.root / folder) for folder in FOLDERS)

        def prepare() -> None:
            tempfile.tempdir = str(self.root / "tmp")
            library.fault_arm(folders.encode(), ctypes.c_long(call), WHAT[what])
            at_exit(lambda: told.write_text(f"{library.fault_count()} {library.fault_last().decode()}"))

        ended = forked(self.command(), self.root / "said", PATIENCE, prepare)
        return ended, told.read_text() if told.exists() else ""

    def files(self, folder: str) -> dict[str, bytes]:
        """Return what is in a folder, by the paths of the files in it."""
        place = self.root / folder
        return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def disturbed(library: ctypes.CDLL, what: str, call: int, read: Files, new: Files) -> Row:
    """Run with a fault at one call, then without, and say what was wrong."""
    with tempfile.TemporaryDirectory() as root:
        place = Place(Path(root))
        ended, told = place.run(library, call, what)
        left, scratch = place.files("out"), place.files("tmp")
        untouched = place.files("in") == read
        again = what == "kill" or left != place.older or call % FOLLOWED == 0 or bool(scratch)
        code = place.run(library)[0].code if again else 0
        after, cleaned = place.files("out") if again else new, not place.files("tmp")
    shown = {name: content for name, content in left.items() if not name.startswith(".onnxprune-")}
    rests = len(shown) < len(left) or bool(scratch)
    good = {"fail": (0, 1, 2, 3), "kill": (0, -signal.SIGKILL), "term": (0, 128 + signal.SIGTERM)}[what]
    wrong = {
        "exit": ended.code not in good,
        "sentence": ended.code > 0 and len(ended.errors) != 1,
        "traceback": "Traceback (most recent" in ended.said,
        "half": shown not in (place.older, new) and not (what == "kill" and _stands_in(left, place.older, new)),
        "not new": ended.code == 0 and shown != new,
        "input": not untouched,
        "left behind": rests and what != "kill",
        "next run": code != 0 or after != new or (what != "kill" and not cleaned),
    }
    faults = [name for name, is_wrong in wrong.items() if is_wrong]
    at = told.partition(" ")[2].replace(root, "").split("/onnxprune-")[0]
    row = {"what": what, "call": call, "at": at, "exit": ended.code, "faults": faults}
    return {**row, "said": (ended.errors or ended.said.splitlines()[-1:] or [""])[0][:300]} if faults else row


def _stands_in(left: Files, older: Files, new: Files) -> bool:
    """Whether a killed run left the older model, reading copies of data files that were being replaced."""
    kept = {OLDER + name: content for name, content in older.items()}
    beside = [name for name in left if name != MODEL and ".part" not in name]
    if not all(left[name] in (part[name] for part in (older, new, kept) if name in part) for name in beside):
        return False
    found = onnx.load_from_string(left.get(MODEL, b""))
    for tensor in stored_tensors(found):
        if is_external(tensor):
            if left.get(location(tensor)) != kept.get(location(tensor)):
                return False
            set_entries(tensor, {"location": location(tensor).removeprefix(OLDER)})
    return found == onnx.load_from_string(older[MODEL])


def page(rows: list[Row]) -> str:
    """Return the page of all rows."""
    return "\n".join(
        [
            "# Runs that are disturbed",
            "",
            "Written by `python benchmarks/faults.py`: calls of a run that reach its files, counted in front of the C",
            "library. At each comes a fault (no space, no permission, a broken disk), a SIGKILL or a SIGTERM. Right",
            "is: the model and its plan are the older ones or the new ones, both alike (by a run that is killed while",
            "it replaces them, a model that computes what the older did); what was read is as it was; the run ends",
            "with a documented exit code and one sentence; nothing is left behind, by a killed run not after the next",
            f"one, which ends with the bytes of an undisturbed one. {stamp()}.",
            "",
            ends(rows),
        ]
    )


def ends(rows: list[Row]) -> str:
    """Return a table: what was done, how many calls, how the runs ended, and what was wrong."""
    lines = []
    for what in dict.fromkeys(row["what"] for row in rows):
        same = [row for row in rows if row["what"] == what]
        ends = Counter(row["exit"] for row in same)
        faults = Counter(fault for row in same for fault in row["faults"])
        counted = [", ".join(f"{name}: {n}" for name, n in sorted(found.items())) for found in (ends, faults)]
        lines.append((what, str(len(same)), counted[0], counted[1] or "none"))
    return table(("at a call", "calls", "exit codes", "wrong"), lines)


def _preloaded() -> ctypes.CDLL:
    """Return what stands in front of the C library; the first time, begin again behind it."""
    if "ONNXPRUNE_FAULTS" in os.environ:
        library = ctypes.CDLL(None)
        library.fault_last.restype = ctypes.c_char_p
        library.fault_count.restype = ctypes.c_long
        return library
    folder = tempfile.mkdtemp(prefix="faults-")
    made = Path(folder) / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, ROOT / "benchmarks" / "faults.c", "-ldl"], check=True)
    env = {**os.environ, "LD_PRELOAD": str(made), "ONNXPRUNE_FAULTS": folder, "ONNXPRUNE_CACHE": f"{folder}/cache"}
    code = subprocess.run([sys.executable, *sys.argv], env=env, check=False).returncode
    shutil.rmtree(folder)
    sys.exit(code)


def main() -> int:
    """Disturb every call that is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--what", default="fail,kill,term")
    parser.add_argument("--every", type=int, default=1, help="take one call of so many")
    parser.add_argument("--only", help="one call, such as fail:12")
    parser.add_argument("--rows", type=Path, default=Path("faults.jsonl"))
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    library = _preloaded()
    evaluate.SECONDS = 0.02  # of timing, which is not looked at here
    with tempfile.TemporaryDirectory() as root:
        place = Place(Path(root))
        read = place.files("in")
        place.run(library)  # measurements are in the cache now, as for all that follow
        ended, told = place.run(library)
        new, count = place.files("out"), int(told.split()[0])
    if ended.code:
        sys.exit(f"The run ends with {ended.code} undisturbed: {ended.said[-500:]}")
    print(f"{count} calls reach the files of the run.", flush=True)
    if options.only:
        what, _, call = options.only.partition(":")
        print(json.dumps(disturbed(library, what, int(call), read, new), indent=1))
        return 0
    calls = range(1, count + 1, options.every)
    cells = ({"what": what, "call": call} for what in options.what.split(",") for call in calls)
    rows = survey(Rows(options.rows, KEY), cells, lambda cell: disturbed(library, **cell, read=read, new=new))
    print(ends(rows))
    if options.page is not None:
        options.page.write_text(page(rows), encoding="utf-8")
    return int(any(row["faults"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
