"""Is the promise of --max-drop kept? Draws of calibration images; all other images judge what came of them.

    python -m benchmarks.promise SHARED --cache FOLDER [--nets NAMES] [--counts 2000,300,60,20] [--draws 10]
                                 [--images new,training] [--max-drop 1] [--rows FILE.jsonl] [--page FILE.md]

The sample models need nothing from SHARED; the CIFAR-10 nets need models/NAME.onnx and data/cifar10_jpeg.zip there,
imagenet_lite0 what `benchmarks.recovery` needs. Images are `new`: draws of those that the net was not trained on,
disjoint from the ones that judge; or `training` images, which a net is surer of than of any others. Everything else is
as a user has it who gives a model, a folder and `--max-drop`. The oracle is the plan with the fewest multiply-adds, of
budgets from 95 % down in steps of 5 %, that loses no more than the limit on all other images; it is looked for with the
first draw of the largest count. Every figure is a line of ROWS as soon as it is known, and is not computed again.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import beta

from benchmarks import command
from benchmarks.nets import LITE, PIXELS
from benchmarks.recovery import open_net as open_large
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from onnxprune import Result, prune
from onnxprune.data import open_data
from onnxprune.errors import UnreachableError
from onnxprune.evaluation import paired, predict
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.runtime import Session

SAMPLES = Path(__file__).parents[1] / "sample_models"
NETS = ("digits_convnet", "digits_resnet", "cifar10_resnet20", "cifar10_resnet56", LITE)
KEY = ("net", "images", "count", "draw", "max_drop")
ORACLE = -1
"""In the place of a draw: the row of the oracle."""

STEPS = tuple(round(0.95 - 0.05 * step, 2) for step in range(18))

Images = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Net:
    """A model, images that it was not trained on, some that it was (None: not at hand), and how it wants its pixels."""

    name: str
    model: Path
    new: Images
    training: Images | None
    pixels: dict[str, Any]

    def pool(self, images: str) -> Images | None:
        """Return the images to draw from."""
        return self.new if images == "new" else self.training


def open_net(name: str, shared: Path, cache: Path) -> Net | None:
    """Return a net with its images, or None where its files are not there."""
    model = SAMPLES / f"{name}.onnx"
    if model.exists():
        return Net(name, model, _folder(SAMPLES / "test"), _folder(SAMPLES / "calib"), {"preprocess": "unit"})
    large = open_large(name, shared, cache)
    if large is None:
        return None
    given, tested = _arrays(large.calibration), _arrays(large.test)
    if name == LITE:  # neither part of it is of images that it was trained on
        both = {key: np.concatenate([given[key], tested[key]]) for key in ("x", "y")}
        return Net(name, large.model, {**given, **both}, None, large.pixels)
    return Net(name, large.model, tested, given, {"mean": PIXELS.mean, "std": PIXELS.std})


def _arrays(path: Path) -> Images:
    with np.load(path) as data:
        return dict(data)


def _folder(path: Path) -> Images:
    files = sorted(path.glob("*/*.png"))
    x = np.stack([np.asarray(Image.open(file)) for file in files])
    return {"x": x if x.ndim > 3 else x[..., None], "y": np.array([int(file.parent.name) for file in files])}


def parts(net: Net, images: str, count: int, draw: int) -> tuple[Images, Images] | None:
    """Return the calibration images of a draw, as many of each class where there are several, and those that judge."""
    pool = net.pool(images)
    if pool is None or count > (len(pool["y"]) if images == "training" else 3 * len(pool["y"]) // 4):
        return None
    rng, y = np.random.default_rng(draw), pool["y"]
    order = rng.permutation(len(y))
    turn = np.zeros(len(y), dtype=np.int64)
    for label in np.unique(y):
        own = order[y[order] == label]
        turn[own] = np.arange(len(own))
    rows = order[np.argsort(turn[order], kind="stable")]
    rest = {**net.new} if images == "training" else _rows(pool, np.sort(rows[count:]))
    return _rows(pool, np.sort(rows[:count])), rest


def _rows(images: Images, rows: NDArray[np.int64]) -> Images:
    return {key: value[rows] if key in ("x", "y") else value for key, value in images.items()}


def measured(net: Net, images: str, count: int, draw: int, limit: float) -> Row | None:
    """Prune with a draw under the limit alone, and say what the other images say of it; None: there are too few."""
    found = parts(net, images, count, draw)
    if found is None:
        return None
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = _pruned(net, found[0], Path(folder), max_drop=limit / 100)
        except UnreachableError as error:
            return {"state": "nothing", "error": str(error)}
        seconds, promise = time.perf_counter() - start, result.promise
        assert promise is not None
        after = _outcome(net, result, found, Path(folder))
    return {
        "state": promise.state,
        "bound": promise.bounds["max_drop"],
        "shown_on": promise.samples,
        "macs": result.plan.reached["macs"],
        "tried": 0 if result.search is None else len(result.search.trials),
        "seconds": seconds,
        **after,
    }


def oracle(net: Net, images: str, count: int, limit: float) -> Row | None:
    """Return the least that holds the limit on all images that judge."""
    found = parts(net, images, count, 0)
    if found is None:
        return None
    best = 1.0
    for share in STEPS:
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "rest.npz", allow_pickle=False, **found[1])
            try:
                result = _pruned(net, found[0], Path(folder), macs=share, test=Path(folder) / "rest.npz")
            except UnreachableError:
                break
        assert result.quality is not None
        assert result.quality.change is not None
        if -result.quality.change > limit / 100 + 1e-9:
            break
        best = result.plan.reached["macs"]
    return {"state": "oracle", "macs": best}


def _pruned(net: Net, given: Images, folder: Path, **more: Any) -> Result:
    np.savez(folder / "given.npz", allow_pickle=False, **given)
    return prune(net.model, folder / "given.npz", output=folder / "out.onnx", **net.pixels, **more)


def _outcome(net: Net, result: Result, found: tuple[Images, Images], folder: Path) -> Row:
    """Measure the file that was written, beside the original, on the images that judge."""
    assert result.output is not None
    np.savez(folder / "rest.npz", allow_pickle=False, **found[1])
    config = PruneConfig(net.model, **net.pixels)
    pixels = config.pixels if config.scaling in (None, "explicit") else config.pixels.with_preset(config.scaling)
    before, after = Session(net.model), Session(result.output)
    data = open_data(folder / "rest.npz", before.inputs, pixels)
    return {"lost": -paired(predict(before, data), predict(after, data)).change, "judged_on": len(data)}


def rows_of(net: Net, options: argparse.Namespace, known: Rows) -> Iterator[Row]:
    """Yield the rows of a net that are not there yet."""
    done = known.done()
    for images in options.images:
        usable = [count for count in options.counts if parts(net, images, count, 0) is not None]
        for count in usable:
            for draw in range(options.draws):
                key = {"net": net.name, "images": images, "count": count, "draw": draw, "max_drop": options.max_drop}
                if known.key(key) not in done:
                    found = measured(net, images, count, draw, options.max_drop)
                    yield {**key, **(found or {})}
        if usable and options.oracle:
            top = max(usable)
            key = {"net": net.name, "images": images, "count": top, "draw": ORACLE, "max_drop": options.max_drop}
            if known.key(key) not in done:
                yield {**key, **(oracle(net, images, top, options.max_drop) or {})}


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows: how often what is held is held, and what that costs."""
    lines = []
    oracles = sorted((row for row in rows if row["draw"] == ORACLE), key=lambda row: row["count"])
    best = {(row["net"], row["images"]): row["macs"] for row in oracles}  # the largest count has the last word
    drawn = [row for row in rows if row["draw"] != ORACLE]
    for kind in sorted({(row["net"], row["images"], row["count"]) for row in drawn}, key=lambda k: (*k[:2], -k[2])):
        same = [row for row in drawn if (row["net"], row["images"], row["count"]) == kind]
        least = best.get(kind[:2])
        for state in ("held", "careful", "nothing"):
            of = [row for row in same if row["state"] == state]
            if not of:
                continue
            lost, macs = ([row[name] for row in of if name in row] for name in ("lost", "macs"))
            lines.append((
                *map(str, kind), state, f"{len(of)} of {len(same)}",
                f"{100 * mean(macs):.0f} %" if macs else "-",
                f"{mean(macs) / least:.2f}" if macs and least else "-",
                f"{_points(mean(lost))} ({_points(min(lost))} to {_points(max(lost))})" if lost else "-",
                str(sum(loss > row["max_drop"] / 100 + 1e-9 for loss, row in zip(lost, of, strict=False))),
                f"{mean(row['seconds'] for row in of):.0f}" if macs else "-",
            ))  # fmt: skip
    head = (
        "net", "images", "given", "state", "runs", "MACs left", "beside the oracle", "points lost on others",
        "lost more than allowed", "seconds",
    )  # fmt: skip
    return (
        "# Is the promise kept?\n\n"
        "Written by `python -m benchmarks.promise`: `--max-drop 1` and nothing else, draws of calibration images, and\n"
        "what all other images say of the file that was written. Training images are ones that the net was trained\n"
        "on: it is surer of them than of any others, and so what they show does not hold for others.\n\n"
        + "".join(f"{_pooled(drawn, images)}\n" for images in dict.fromkeys(row["images"] for row in drawn))
        + "\n"
        + table(head, lines)
    )


def _points(loss: float) -> str:
    return f"{round(100 * loss, 2) + 0.0:+.2f}"


def _pooled(rows: Sequence[Row], images: str) -> str:
    """Say how many of all held results lost more than was allowed."""
    held = [row for row in rows if row["state"] == "held" and row["images"] == images]
    wrong = sum(row["lost"] > row["max_drop"] / 100 + 1e-9 for row in held)
    if not held:
        return f"No result from {images} images is held."
    low = beta.ppf(0.025, wrong, len(held) - wrong + 1) if wrong else 0.0
    high = beta.ppf(0.975, wrong + 1, len(held) - wrong) if wrong < len(held) else 1.0
    return (
        f"{wrong} of {len(held)} held results from {images} images lost more than allowed: "
        f"{100 * wrong / len(held):.1f} % (Clopper-Pearson {100 * low:.1f} to {100 * high:.1f} %)."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = command.parser(__doc__, NETS, draws=10, threads=1)
    parser.add_argument("--counts", type=command.counts, default=[2000, 300, 60, 20])
    parser.add_argument("--images", type=command.names, default=["new", "training"])
    parser.add_argument("--max-drop", type=float, default=1.0)
    parser.add_argument("--no-oracle", dest="oracle", action="store_false")
    options = parser.parse_args(arguments)
    command.run(options, Rows(options.rows or options.cache / "promise.jsonl", KEY), open_net, rows_of, page)


if __name__ == "__main__":
    main()
