"""How much CPU time runs take, in plain passes of onnxruntime over their images.

    python benchmarks/passes.py MODEL --data DATA [--repeat 3] [--threads N] [--mean R,G,B] [--std R,G,B]

Two commands are timed, each in a process of its own, with start and all: `--macs 50%`, and the default. A pass is the
original on all images, in calls of 32. Passes and commands take turns, and what counts is the median of CPU seconds of
either, so that other work on the machine shows in both. Prints a table.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks import command  # noqa: E402
from benchmarks.tables import table  # noqa: E402
from onnxprune import open_data  # noqa: E402
from onnxprune.runtime import Session  # noqa: E402
from onnxprune.values.preprocess import Preprocess  # noqa: E402

COMMANDS = {"`--macs 50%`": ["--macs", "50%"], "the default": []}
CALL = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--mean", type=command.numbers, default=[0.0])
    parser.add_argument("--std", type=command.numbers, default=[1.0])
    options = parser.parse_args()
    pixels = [f"--{name}={','.join(map(str, getattr(options, name)))}" for name in ("mean", "std")]
    shared = [*pixels, *([] if options.threads is None else ["--threads", str(options.threads)])]
    session = Session(options.model, threads=options.threads)
    dataset = open_data(options.data, session.inputs, Preprocess(mean=tuple(options.mean), std=tuple(options.std)))
    plain: list[float] = []
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.repeat):
        for name, extra in COMMANDS.items():
            began = time.process_time()
            for batch in dataset.batches(CALL):
                session.run(batch.feeds)
            plain.append(time.process_time() - began)
            found[name].append(_seconds([str(options.model), "--data", str(options.data), *shared, *extra]))
    one = statistics.median(plain)
    lines = [
        (name, f"{statistics.median(seconds):.1f}", f"{statistics.median(seconds) / one:.1f}")
        for name, seconds in found.items()
    ]
    print(f"A pass over {len(dataset)} images takes {one:.3f} CPU seconds.\n")
    print(table(("run", "CPU seconds", "plain passes"), lines))


def _seconds(arguments: list[str]) -> float:
    """Run onnxprune and return the CPU seconds of its process."""
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "-m", "onnxprune", *arguments, "-o", str(Path(folder) / "out.onnx"), "-q"]
        with (Path(folder) / "said").open("wb") as said:
            process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=said)
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise SystemExit(f"{shlex.join(call)} failed: {(Path(folder) / 'said').read_text()}")
        return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
