"""What `onnxprune --help` costs beside the import of the runtime: the median of paired CPU times, and their ratio.

    python benchmarks/help.py [--runs 9] [--limit 0.5]

CPU time is user and system time of the child process. Ends with 1 where the ratio is above the limit.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence

HELP = (sys.executable, "-m", "onnxprune", "--help")
RUNTIME = (sys.executable, "-c", "import onnxruntime")


def cpu_seconds(command: Sequence[str]) -> float:
    """Run a command and return the user and system time that it took.

    Raises:
        CalledProcessError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def paired(runs: int, first: Sequence[str] = HELP, second: Sequence[str] = RUNTIME) -> tuple[float, float, float]:
    """Return the medians of both commands' times and of their ratios, run by run, after one run of each to warm up."""
    cpu_seconds(first), cpu_seconds(second)
    pairs = [(cpu_seconds(first), cpu_seconds(second)) for _ in range(runs)]
    return (
        statistics.median(one for one, _ in pairs),
        statistics.median(two for _, two in pairs),
        statistics.median(one / two for one, two in pairs),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="pairs to take the median of")
    parser.add_argument("--limit", type=float, help="end with 1 where the ratio is above this")
    given = parser.parse_args(arguments)
    ours, runtime, ratio = paired(given.runs)
    print(f"onnxprune --help     {ours:.3f} s\nimport onnxruntime   {runtime:.3f} s\nratio                {ratio:.2f}")
    return int(given.limit is not None and ratio > given.limit)


if __name__ == "__main__":
    sys.exit(main())
