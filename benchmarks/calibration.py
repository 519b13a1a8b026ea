"""Time what calibration and recovery cost as multiples of a plain run of the model, and the memory that they take.

    python -m benchmarks.calibration FOLDER [--models tv_resnet50.ts17,tv_mobilenet_v2.ts17] [--images 500]
                                     [--what NAMES] [--repeats 3] [--threads 2] [--memory 200,2000]
                                     [--rows ROWS.json] [--page PAGE.md]

FOLDER holds .onnx files; weightless ones are filled with seeded random weights. The images are noise of the size that
the model takes, made before the clock starts, so no decoding is in any figure. A plain run is one session with the
defaults that a user gets, over the same images in the same batches; it is timed between all others, in the same process
and on the same number of threads, and every figure is divided by the mean of the two plain runs beside it; of several
such ratios the middle one counts. Each model has a process of its own. CPU seconds say what a busy machine does to the
clock's. `widths` is what the widths of any method under --macs take beside its own statistics.

With --memory the largest resident set of each job is taken at both numbers of images instead, in a fresh process. Rows
are added to those in ROWS.json, in the place of older ones of the same thing; the page is written from all of them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.coverage import fill
from benchmarks.memory import peak_of
from benchmarks.tables import table
from benchmarks.threads import limit_threads
from onnxprune import Budget, Model, apply, collect, inspect, load, plan, recover, score
from onnxprune.analysis.analysis import Analysis
from onnxprune.data import Dataset
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.weights import NO_WEIGHTS
from onnxprune.runtime import open_session
from onnxprune.surgery.cut import Cut
from onnxprune.values.preprocess import Preprocess

MODELS = "tv_resnet50.ts17,tv_mobilenet_v2.ts17"
METHODS = ("catro", "class-aware", "entropy", "reconstruction")
WIDTHS = "widths"
"""What `--macs` takes beside any of the methods."""
RECOVERIES = ("bias", "fold", "refit")
ASKED = {"catro": 1.6, "class-aware": 1.6, "entropy": 3.0, "refit": 10.0}
POOL = 64
"""Different images; more would only fill memory."""

CLASSES = 10
BATCH = 8


@dataclass(frozen=True, eq=False)
class Noise:
    """A reader of images that are ready to be fed."""

    name: str
    images: NDArray[np.float32]
    preprocess: Preprocess
    preprocessed: bool = True
    one_by_one: bool = False
    target: None = None

    def feeds(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The images again and again."""
        return {self.name: self.images[rows % len(self.images)]}

    def decoded(self, rows: NDArray[np.int64]) -> None:
        """Nothing: they are no pixels any more."""

    def with_preprocess(self, _: Preprocess) -> "Noise":
        """Nothing is left to be done to them."""
        return self

    def contents(self, _: NDArray[np.int64]) -> Any:
        """What identifies them."""
        return iter(())


def noise(model: Model, count: int) -> Dataset:
    """Return `count` labelled images for a model with one input."""
    (spec,) = model.graph.input_specs
    shape = model.graph.facts.shapes[0][spec.name]
    images = np.random.default_rng(0).standard_normal((POOL, *shape[1:]), dtype=np.float32)
    rows = np.arange(count, dtype=np.int64)
    return Dataset(
        Noise(spec.name, images, Preprocess()), rows, rows % CLASSES, tuple(map(str, range(CLASSES))), (), "noise"
    )


def plain_run(model: Model, dataset: Dataset) -> None:
    """Run the model as a user would."""
    session = open_session(model.proto, model.weights)
    for batch in dataset.batches(BATCH):
        for chunk in session.chunks(batch.feeds):
            session.run(chunk.feeds)


def half(model: Model, analysis: Analysis) -> Cut:
    """Cut half of the MACs by weight norms."""
    scores = score(analysis, collect(analysis, None, "l1"), "l1")
    return apply(model, analysis, plan(model, analysis, scores, Budget(macs=0.5), "l1"))[0]


def jobs(model: Model, what: list[str], images: int) -> Mapping[str, Callable[[], object]]:
    """Return what there is to measure, ready to go."""
    analysis, dataset = inspect(model), noise(model, images)
    found: dict[str, Callable[[], object]] = {"plain run": lambda: plain_run(model, dataset)}
    for name in what:
        if name in METHODS:
            found[name] = lambda name=name: collect(analysis, dataset, name, batch_size=BATCH, widths=False)  # type: ignore[misc]
        if name == WIDTHS:
            found[name] = lambda: collect(analysis, dataset, "random", batch_size=BATCH)
    if set(what) & set(RECOVERIES):
        cut = half(model, analysis)
        for name in what:
            if name in RECOVERIES:
                found[name] = lambda name=name: recover(model, cut, dataset, name)  # type: ignore[misc]
    return found


def times(path: Path, what: list[str], images: int, repeats: int) -> list[dict[str, Any]]:
    """Time every job between two plain runs, several times; the run with the middle ratio counts."""
    model = load(path)
    plain_run(model, noise(model, BATCH))
    todo = dict(jobs(model, what, images))
    plain = todo.pop("plain run")
    before, rows = _timed(plain), []
    for name, job in todo.items():
        found = []
        for _ in range(repeats):
            taken, after = _timed(job), _timed(plain)
            wall, cpu = np.mean([before, after], axis=0)
            found.append(
                {"model": path.stem, "what": name, "seconds": taken[0], "ratio": taken[0] / wall}
                | {"cpu_seconds": taken[1], "cpu_ratio": taken[1] / cpu, "asked": ASKED.get(name)}
            )
            before = after
        rows.append(sorted(found, key=lambda row: row["ratio"])[repeats // 2])
    return rows


def _timed(job: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


def filled(path: Path, folder: Path) -> Path:
    """Write the model with random weights in the place of missing ones."""
    target = folder / path.name
    write_model(fill(onnx.load(path)), NO_WEIGHTS, target)
    return target


def child(options: argparse.Namespace, path: Path, *more: str) -> list[str]:
    """Return the command that measures one model in a process of its own."""
    shared = ["--threads", str(options.threads), "--child"]
    return [sys.executable, "-m", "benchmarks.calibration", str(path), *shared, *more]


def memory_row(options: argparse.Namespace, path: Path, name: str) -> dict[str, Any]:
    """Measure the peaks of one job at both numbers of images."""
    peaks = {
        count: peak_of(child(options, path, "--what", name, "--images", count, "--once"))[0] >> 20
        for count in options.memory.split(",")
    }
    return {"model": path.stem, "what": name, "peak_mb": peaks}


def run_child(options: argparse.Namespace) -> None:
    """Do what the parent asked for, in this process."""
    what = options.what.split(",")
    if options.once:
        jobs(load(options.path), what, options.images)[what[0]]()
    else:
        print(json.dumps(times(options.path, what, options.images, options.repeats)))


PAGE = """\
# What calibration and recovery cost

Written by `python -m benchmarks.calibration`, on architectures with random weights and images of noise; no decoding is
in any figure. Ratios are to plain onnxruntime runs over the same images, timed before and after in the same process; of
several such ratios the middle one.

"""


def report(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as Markdown tables."""
    timed = [row for row in rows if "seconds" in row]
    peaks = [row for row in rows if "peak_mb" in row]
    parts = []
    if timed:
        head = [
            "model",
            "what",
            "images",
            "threads",
            "seconds",
            "of plain runs",
            "CPU seconds",
            "of plain runs",
            "asked",
        ]
        parts.append(table(head, [_cells(row) for row in timed]))
    if peaks:
        counts = list(peaks[0]["peak_mb"])
        head = ["model", "what", *(f"MB at {count} images" for count in counts)]
        parts.append(table(head, [[r["model"], r["what"], *(str(r["peak_mb"][c]) for c in counts)] for r in peaks]))
    return "\n".join(parts)


def joined(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all rows; of two of the same thing the new one."""
    found = {(row["model"], row["what"], "peak_mb" in row): row for row in [*old, *new]}
    return list(found.values())


def _cells(row: dict[str, Any]) -> list[str]:
    figures = (
        str(row["images"]),
        str(row["threads"]),
        f"{row['seconds']:.1f}",
        f"{row['ratio']:.2f}",
        f"{row['cpu_seconds']:.1f}",
        f"{row['cpu_ratio']:.2f}",
    )
    return [row["model"], row["what"], *figures, f"{row['asked']:g}" if row["asked"] else ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, metavar="FOLDER")
    parser.add_argument("--models", default=MODELS, help=f"file names without .onnx ({MODELS})")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--what", default=",".join([*METHODS, WIDTHS, *RECOVERIES]), help="methods, widths, recoveries")
    parser.add_argument("--repeats", type=int, default=3, help="times that everything is timed (3)")
    parser.add_argument("--threads", type=int, default=2, help="of the runtime and of numpy (2)")
    parser.add_argument("--memory", metavar="FEW,MANY", help="measure peak memory at these numbers of images instead")
    parser.add_argument("--rows", type=Path, help="file of rows that the new ones are added to")
    parser.add_argument("--page", type=Path, help="where the page goes")
    for name in ("--child", "--once"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    limit_threads(options.threads)
    if options.child:
        run_child(options)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        for name in options.models.split(","):
            source = options.path / f"{name}.onnx"
            if not source.exists():
                print(f"{source} is not there; skipped.", file=sys.stderr)
                continue
            path = filled(source, Path(folder))
            if options.memory:
                for job in ["plain run", *options.what.split(",")]:
                    rows.append(memory_row(options, path, job))
                    print(report(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
            else:
                images = ["--images", str(options.images), "--repeats", str(options.repeats)]
                done = subprocess.run(
                    child(options, path, "--what", options.what, *images), stdout=subprocess.PIPE, check=True
                )
                what = {"images": options.images, "threads": options.threads}
                rows += [row | what for row in json.loads(done.stdout)]
    print(report(rows))
    if options.rows:
        rows = joined(json.loads(options.rows.read_text()) if options.rows.exists() else [], rows)
        options.rows.write_text(json.dumps(rows, indent=1) + "\n")
    if options.page:
        options.page.write_text(PAGE + report(rows))


if __name__ == "__main__":
    main()
