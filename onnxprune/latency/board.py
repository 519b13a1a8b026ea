"""Times small models on the machine that it runs on. This file alone, numpy and onnxruntime are all that it takes.

So it travels: `onnxprune profile MODEL --pack board.pyz` puts it, as the main module, into an archive with the models
to time, and `python board.pyz -o device.json` on the device does the rest.

The archive has `jobs.json`: a list `jobs` of {id, file, feeds, ops}, and anything else, which is handed on. `file` is
the model's place in the archive, `feeds` the shape of every float input, `ops` the kernels whose time counts (none: the
whole call). What is written is the same without `jobs`, with `times`: by id the median, the 10th and the 90th
percentile in microseconds and the number of runs; and `machine`.
"""

import argparse
import json
import os
import platform
import stat
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it sends what it runs to its makers otherwise

import onnxruntime

WARM_UP = 2
FEWEST, MOST = 5, 200
SECONDS = 0.06
"""Of timed runs of one layer, unless `FEWEST` take longer. A whole model gets `WHOLE_SECONDS`."""
WHOLE_SECONDS = 2.0
TURN = 10
"""Timed calls of a whole model before the next one's turn, after the `FEWEST` of its first."""
SETTLE = 0.1
"""Seconds of untimed calls that the turn of a model of several threads begins with."""
CPU = "CPUExecutionProvider"

Model: TypeAlias = bytes | str
"""A model or its path."""
Shapes: TypeAlias = Mapping[str, Sequence[int]]
Times: TypeAlias = dict[str, float]


def machine(threads: int | None = None, provider: str = CPU) -> dict[str, Any]:
    """Return what timings depend on, as JSON types."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "threads": threads,
        "provider": provider,
    }


def providers() -> list[str]:
    """Return the execution providers that there are."""
    return list(onnxruntime.get_available_providers())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    return found.get("model name") or found.get("Hardware") or found.get("Model") or platform.machine()


def time_layer(
    model: Model, feeds: Shapes, ops: Collection[str], threads: int | None = None, provider: str = CPU
) -> Times:
    """Time the kernels `ops` of a model by the runtime's own profile; a call as a whole where that names none of them.

    Args:
        model: bytes of a model.
        feeds: by input its shape; all are float32.
        ops: names of kernels; those that reorder data for them do not count, as a whole network has few.
        threads: within a kernel; None: the runtime's choice.
        provider: execution provider.

    Returns:
        Microseconds: the median, the 10th and the 90th percentile; and the number of runs.
    """
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        options = _options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
        values = _noise(feeds)
        calls = _timed(session, values, SECONDS)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    start = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    taken = []
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    for first, last in zip(start, [*start[1:], float("inf")], strict=True):
        inside = [event["dur"] for event in kernels if first <= event["ts"] < last and _counts(event, ops)]
        taken.append(float(sum(inside)))
    taken = taken[WARM_UP:]
    return _summary(taken if any(taken) else calls)


def _counts(event: Mapping[str, Any], ops: Collection[str]) -> bool:
    return event.get("args", {}).get("op_name") in ops


def time_whole(
    models: Sequence[Model],
    feeds: Shapes,
    threads: int | None = None,
    provider: str = CPU,
    seconds: float = WHOLE_SECONDS,
) -> list[Times]:
    """Time models in turn, see `in_turns`.

    Args:
        models: bytes or paths of models that take the same inputs, but for widths that a cut left of them.
        feeds: by input its shape; all are float32.
        threads: within a kernel; None: the runtime's choice.
        provider: execution provider.
        seconds: for each.

    Returns:
        For each model as `time_layer`.
    """
    sessions = [onnxruntime.InferenceSession(model, _options(threads), providers=[provider]) for model in models]
    noise = [_noise(_own(session, feeds)) for session in sessions]
    for session, values in zip(sessions, noise, strict=True):
        for _ in range(WARM_UP):
            session.run(None, values)
    calls = [partial(session.run, None, values) for session, values in zip(sessions, noise, strict=True)]
    found = in_turns(calls, seconds * len(sessions), MOST, 0.0 if threads == 1 else SETTLE)
    return [_summary([1e6 * each for each in taken]) for taken in found]


def in_turns(
    calls: Sequence[Callable[[], object]], seconds: float, most: int, settle: float = 0.0
) -> list[list[float]]:
    """Time calls in turn (A A A, B B B, A A A, ...), so that a busy moment of the machine hits all alike.

    What a turn begins with is not timed. The threads of the model before it still wait for more work, awake, and where
    models take every core they push this one's threads together; it takes the system some time to part them. Calls that
    alternate one by one can take twice their time on all cores.

    Args:
        calls: what is timed.
        seconds: after which no turn begins; each has one turn at least.
        most: timings of each, at most.
        settle: seconds of calls that every turn begins with, one at least: `SETTLE` for models of several threads.

    Returns:
        Seconds of every timed call, as many for each.
    """
    taken: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while not taken[0] or (time.perf_counter() < end and len(taken[0]) < most):
        turn = min(TURN if taken[0] else FEWEST, most - len(taken[0]))
        for call, found in zip(calls, taken, strict=True):
            begun = time.perf_counter()
            call()
            while time.perf_counter() - begun < settle:
                call()
            for _ in range(turn):
                start = time.perf_counter()
                call()
                found.append(time.perf_counter() - start)
    return taken


def _options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _noise(feeds: Shapes) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in feeds.items()}


def _own(session: onnxruntime.InferenceSession, feeds: Shapes) -> Shapes:
    """Return the shapes of feeds with the sizes that a model fixes itself."""
    return {
        spec.name: [
            own if isinstance(own, int) else size for own, size in zip(spec.shape, feeds[spec.name], strict=True)
        ]
        for spec in session.get_inputs()
    }


def _timed(session: onnxruntime.InferenceSession, values: Mapping[str, Any], seconds: float) -> list[float]:
    """Return the microseconds of every call after the first ones, which allocate memory."""
    for _ in range(WARM_UP):
        session.run(None, values)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < FEWEST or (time.perf_counter() < end and len(taken) < MOST):
        start = time.perf_counter()
        session.run(None, values)
        taken.append(1e6 * (time.perf_counter() - start))
    return taken


def _summary(taken: Sequence[float]) -> Times:
    low, middle, high = (round(float(value), 2) for value in np.percentile(taken, (10, 50, 90)))
    return {"median": middle, "p10": low, "p90": high, "runs": len(taken)}


def run(
    read: Callable[[str], Model],
    jobs: Sequence[Mapping[str, Any]],
    threads: int | None = None,
    provider: str = CPU,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Times]:
    """Time jobs.

    Args:
        read: from a job's file to its bytes, or its path.
        jobs: see above; those without ops are whole models, timed in turn.
        threads: within a kernel; None: the runtime's choice.
        provider: execution provider.
        progress: hears how many jobs are done, of how many.

    Returns:
        By id as `time_layer`.
    """
    whole = [job for job in jobs if not job["ops"]]
    found: dict[str, Times] = {}
    if whole:
        taken = time_whole([read(job["file"]) for job in whole], whole[0]["feeds"], threads, provider)
        found.update({job["id"]: times for job, times in zip(whole, taken, strict=True)})
    if progress is not None:
        progress(len(found), len(jobs))
    for job in jobs:
        if job["ops"]:
            found[job["id"]] = time_layer(read(job["file"]), job["feeds"], job["ops"], threads, provider)
            if progress is not None:
                progress(len(found), len(jobs))
    return found


def main(archive: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Time what an archive holds, this one unless another is named, and write what was found."""
    parser = argparse.ArgumentParser(prog="board", description="Time the layers of a network on this machine.")
    parser.add_argument("-o", "--output", default="device.json", help="what is written (device.json)")
    parser.add_argument("--threads", type=int, help="threads within a kernel; default: the runtime's choice")
    parser.add_argument("--provider", default=CPU, help="execution provider of onnxruntime")
    options = parser.parse_args(arguments)
    if options.provider not in providers():
        parser.error(f"this onnxruntime has {', '.join(providers())}")
    if options.threads is not None and options.threads < 1:
        parser.error("--threads is a number from 1 up")
    target, source = Path(options.output), Path(archive or sys.argv[0])
    if target.exists() and target.samefile(source):
        parser.error(f"{target} is this archive; name another file")
    null = target.exists() and target.samefile(os.devnull)
    if target.exists() and not target.is_file() and not null:
        parser.error(f"{target} is no file; name one")

    begin = "\r" if sys.stderr.isatty() else ""

    def print_progress(done: int, of: int) -> None:
        print(f"{begin}{done} of {of} timed", end="", file=sys.stderr, flush=True)

    with zipfile.ZipFile(source) as opened, tempfile.TemporaryDirectory() as folder:
        content = json.loads(opened.read("jobs.json"))
        opened.extractall(folder)
        paths = Path(folder)
        jobs, progress = content.pop("jobs"), print_progress if begin else None
        times = run(lambda file: str(paths / file), jobs, options.threads, options.provider, progress)
    content.update(times=times, machine=machine(options.threads, options.provider))
    if not null:
        place = Path(os.path.realpath(target))
        part = place.with_name(f"{place.name}.part")
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if place.exists():
            part.chmod(stat.S_IMODE(place.stat().st_mode))
        part.replace(place)
    print(f"{begin}{len(times)} timings written to {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
