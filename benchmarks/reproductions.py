"""The three papers' procedures as they state them, on the nearest data at hand.

    python -m benchmarks.reproductions SHARED --cache FOLDER [--nets NAMES] [--parts entropy,catro,class-aware]
                                       [--epochs 2] [--images 10000] [--rows FILE.jsonl] [--page FILE.md]

Needs models/NAME.onnx, of nets that hold their normalisations, and data/cifar10_jpeg.zip. Scores come from 50 training
images of each class, top-1 is of all test images.

* entropy: a threshold of its own for every layer (`--alpha`), as Narkhede et al. 2024 have it; what goes, and top-1
  behind refit.
* catro: the two stages, which channels of a layer and how many of each, at the share of the multiply-adds that a survey
  tells of the paper, and at half of them.
* class-aware: train with the modified loss, then score, remove, retrain until the floor (Jiang et al. 2024), only the
  first convolution of each block; torch. `--images` training images, `--epochs` before the loop and in every turn. The
  nets were trained on these images before and look better on them than they are, so that the floor goes by a fifth of
  the test images, and top-1 is of the others.

A cell is a line of ROWS as soon as it is known, and is not computed again.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import command
from benchmarks.recovery import Net, drawn, open_net
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from onnxprune import Result, prune
from onnxprune.errors import UnreachableError
from onnxprune.pipeline.config.jobs import FinetuneConfig, IterateConfig
from onnxprune.pipeline.finetune import finetune
from onnxprune.pipeline.iterate import iterate

NETS = ["cifar10_resnet20_bn", "cifar10_resnet56_bn"]
KEY = ("net", "part", "setting", "epochs", "images")
ALPHAS = (0.8, 0.9, 1.0)
STATED_MACS = 0.542
"""CATRO on ResNet-50 and ImageNet at 45.8 % fewer operations: 75.98 -> 75.84 (Liu et al. 2024, table 4)."""

STAGES: Mapping[str, Mapping[str, Any]] = {
    "single channels, widths by F": {"impact": "single", "feature": "gap", "widths": "greedy"},
    "joint impact, widths by F": {"widths": "greedy"},
    "joint impact, widths by losses": {},
}
FIFTH = 5
ORTHOGONAL, L1, FLOOR, TURNS = 0.01, 0.0001, 0.02, 4
"""Weights of the modified loss (stated), and where and when the loop ends."""

WHOLE = ("conv2",)
"""Layers of a residual block that stay whole, with the streams that they are added to."""


@dataclass(frozen=True, eq=False)
class Study:
    """A net, its calibration images, and how it is trained."""

    net: Net
    data: Path
    images: int
    epochs: int
    threads: int


Work = tuple[str, Callable[[], Row]]
"""A setting, and what measures it."""


def measured(study: Study, method: str, how: Mapping[str, Any]) -> Row:
    """Prune, and return what went and top-1 of the cut and behind refit."""
    net, data = study.net, study.data
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        try:
            found = prune(net.model, data, method, round_to=1, test=net.test, output=output, **how, **net.pixels)
        except UnreachableError as reason:
            return {"note": str(reason)}
    return figures(found)


def figures(result: Result) -> Row:
    """Return what is left, and top-1 by stage."""
    quality = result.quality
    assert quality is not None
    assert quality.before is not None
    stages = {step.name: step.top1 for step in quality.steps}
    return {**{name: result.plan.reached[name] for name in ("macs", "params")}, "before": quality.before.top1, **stages}


def entropy(study: Study) -> Iterator[Work]:
    """Yield every variant and multiple of the threshold."""
    for variant in ("map", "gap", "conditional"):
        for alpha in ALPHAS:
            how = {"alpha": alpha, "options": {"variant": variant}}
            yield f"{variant}, alpha {alpha:g}", partial(measured, study, "entropy", how)


def catro(study: Study) -> Iterator[Work]:
    """Yield every reading of the stages, and every budget."""
    for macs in (STATED_MACS, 0.5):
        for name, stages in STAGES.items():
            how = {"macs": macs, "options": dict(stages)}
            yield f"{name}, {macs:.1%} of the MACs", partial(measured, study, "catro", how)


def class_aware(study: Study) -> Iterator[Work]:
    """Yield the loop by the threshold, and by a budget."""
    for name, macs in (("until no filter is below the threshold", None), ("to half of the MACs", 0.5)):
        yield name, partial(loop, study, macs)


PARTS = {"entropy": entropy, "catro": catro, "class-aware": class_aware}


def loop(study: Study, macs: float | None) -> Row:
    """Prune what was trained with the modified loss and train it in turns; return every turn's figures."""
    begun, recipe = sparse(study)
    how: dict[str, Any] = {"method": "class-aware", "options": {"score": "gradient"}, "macs": macs}
    how |= {"iterations": TURNS, "floor": FLOOR, "keep": WHOLE}
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = iterate(IterateConfig(begun, output=Path(folder) / "out.onnx", **how, **recipe))
        except UnreachableError as reason:
            return {"note": str(reason)}
    assert found.quality is not None
    assert found.quality.before is not None
    assert found.quality.after is not None
    kept = [turn for turn in found.iterations if turn.kept]
    return {
        "macs": kept[-1].macs if kept else 1.0,
        "params": kept[-1].params if kept else 1.0,
        "before": found.quality.before.top1,
        "turns": [{"macs": turn.macs, "top1": turn.trained, "kept": turn.kept} for turn in found.iterations],
        "trained": found.quality.after.top1,
        "note": found.ended,
    }


@cache
def sparse(study: Study) -> tuple[Path, Mapping[str, Any]]:
    """Train with the modified loss once; return the model, and what all of the training is told."""
    net, folder = study.net, study.data.parent
    training, val, test = (folder / f"{name}.npz" for name in ("training", "val", "test"))
    drawn(net, 0, training, study.images)
    parted(net.test, val, test)
    recipe: dict[str, Any] = {"orthogonal": ORTHOGONAL, "l1": L1, "epochs": study.epochs}
    recipe |= {"augment": "crop,flip"} if net.pixels else {}
    recipe |= {"data": training, "val": val, "test": test, "threads": study.threads, **net.pixels}
    with suppress(UnreachableError):  # no epoch did better on the validation data than the net as it is
        finetune(FinetuneConfig(net.model, output=folder / "sparse.onnx", **recipe))
        return folder / "sparse.onnx", recipe
    return net.model, recipe


def parted(source: Path, val: Path, test: Path) -> None:
    """Write a fifth of the test images, as many of each class, for the floor, and the others to judge by."""
    with np.load(source) as data:
        arrays = dict(data)
    x, y = arrays.pop("x"), arrays.pop("y")
    chosen = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        chosen[np.flatnonzero(y == label)[::FIFTH]] = True
    for path, rows in ((val, chosen), (test, ~chosen)):
        np.savez(path, x=x[rows], y=y[rows], **arrays)


def rows_of(net: Net, options: argparse.Namespace, known: Rows) -> Iterator[Row]:
    """Yield the rows of a net that are not there yet."""
    done = known.done()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "draw.npz"
        drawn(net, 0, data)
        study = Study(net, data, options.images, options.epochs, options.threads)
        for part in options.parts:
            trains = {"epochs": options.epochs, "images": options.images} if part == "class-aware" else {}
            for setting, work in PARTS[part](study):
                key = {"net": net.name, "part": part, "setting": setting, **trains}
                if known.key(key) not in done:
                    yield {**key, **work()}


STATED = {
    "entropy": """\
## entropy: a threshold for every layer

Stated (Narkhede et al. 2024): on CIFAR-10 compression of 87.19 % (AlexNet), 85.11 % (VGG-16) and 62.3 % (ResNet-50), by
thresholds of every layer's own, and a study of what to retrain; a uniform cut of the parameters reproduces these
figures ([entropy](../methods/entropy.md)). Nets of these shapes, cut that far and retrained:
[compression.md](compression.md). What to retrain: [retraining_study.md](retraining_study.md). Here the rule itself
decides, on ResNets for CIFAR-10, without any training.
""",
    "catro": """\
## catro: two stages

Told of the paper (Hu et al. 2023; Liu et al. 2024, table 4): ResNet-50 on ImageNet 75.98 -> 75.84 with 45.8 % fewer
operations, trained. Here ResNets for CIFAR-10 with as many fewer and with half, without any training.
""",
    "class-aware": """\
## class-aware: train, score, remove, retrain

Stated (Jiang et al. 2024): the loop, the modified loss with its weights, the floor, and that only the first convolution
of each block of ResNet-56 is pruned. Its result table could not be read. Here few images and epochs: the threshold
bites after long training with the modified loss only, so that the loop is shown to a budget too. The floor goes by a
fifth of the test images, which the net was not trained on, and top-1 is of the others.
""",
}


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows."""
    parts = [
        "# What the papers state, and what we get",
        "",
        "Written by `python -m benchmarks.reproductions`: top-1 in percent on all test images of CIFAR-10, scores from",
        "50 training images of each class, widths not rounded.",
    ]
    for part, said in STATED.items():
        mine = [row for row in rows if row["part"] == part]
        if mine:
            parts += ["", said, table(_HEAD, [_line(row) for row in mine])]
    return "\n".join(parts)


_HEAD = ("net", "setting", "parameters gone %", "MACs left %", "before", "cut", "refit", "trained", "note")


def _line(row: Row) -> tuple[str, ...]:
    trained = f"{row['images']} images, {row['epochs']} epochs a turn. " if "epochs" in row else ""
    turns = "On validation images: " * bool(row.get("turns")) + "".join(
        f"{100 * turn['macs']:.0f} % of the MACs: {100 * turn['top1']:.1f}{'' if turn['kept'] else ' (undone)'}; "
        for turn in row.get("turns", ())
    )
    gone = f"{100 * (1 - row['params']):.1f}" if "params" in row else ""
    left = f"{100 * row['macs']:.1f}" if "macs" in row else ""
    top1 = (
        f"{100 * row[name]:.1f}" if row.get(name) is not None else "" for name in ("before", "cut", "refit", "trained")
    )
    return (row["net"], row["setting"], gone, left, *top1, f"{trained}{turns}{row.get('note', '')}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = command.parser(__doc__, NETS, draws=1)
    parser.add_argument("--parts", type=command.names, default=list(PARTS))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=10000)
    options = parser.parse_args(arguments)
    command.run(options, Rows(options.rows or options.cache / "reproductions.jsonl", KEY), open_net, rows_of, page)


if __name__ == "__main__":
    main()
