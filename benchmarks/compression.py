"""Nets of the papers' shapes, trained on CIFAR-10, pruned to the papers' compression, retrained whole, in part, or not.

    python -m benchmarks.compression SHARED --cache FOLDER [--jobs alexnet:entropy:87%,...] [--epochs N] [--retrain N]
        [--images N] [--device auto] [--page FILE.md]

SHARED holds data/cifar10_jpeg.zip. A net that is not in its models/ is trained once into the cache (SGD with Nesterov
momentum, one cycle up to 0.1, 0.05 or 0.01, shifted and mirrored images) and exported with its normalisations. Then it
is pruned by 500 training images to the share of the parameters that the paper reports to be gone (87 %, 85 % and 62 %
for `entropy`, Narkhede et al. 2024), with one ratio for all groups, the smallest that reaches it. `refit` follows, then
onnxprune's own training of each part. Top-1 on all test images. Rows go to FOLDER/compression.jsonl, only those that
are missing are computed, and the page has all of them.
"""

import argparse
import io
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

import onnxprune
from benchmarks.nets import PIXELS, write_sets
from benchmarks.rows import Row, Rows
from benchmarks.tables import table
from benchmarks.torch_nets import NETS
from benchmarks.torch_training import SEED, Set, Training, trained
from onnxprune import Budget, open_data
from onnxprune.data import split
from onnxprune.evaluation import evaluate
from onnxprune.finetune.training.processes import Processes, find_device
from onnxprune.finetune.training.recipe import Part, Recipe
from onnxprune.graph.storage.mapped import on_disk
from onnxprune.pipeline.execution.training import tune
from onnxprune.runtime import open_session
from onnxprune.values.plan import Plan

JOBS = (
    "alexnet:entropy:87%,vgg16:entropy:85%,resnet50:entropy:62%,"
    "vgg16:class-aware:85%,cifar10_resnet56_bn:class-aware:50%"
)
PARTS: tuple[Part, ...] = ("full", "fc")
KEYS = ("net", "method", "gone", "epochs", "retrain", "images")
CALIBRATION = 50
PRECISION = 10
"""Halvings of the interval that the ratio is searched in."""


def trained_net(name: str, path: Path, train: Set, epochs: int, device: torch.device) -> None:
    """Train a net and write it as ONNX, unless that was done before."""
    if path.exists():
        return
    torch.manual_seed(SEED)
    net = trained(NETS[name].make(), train, Training(epochs, NETS[name].rate, device))
    onnx.save(exported(net.cpu().eval()), path)


def exported(net: nn.Module) -> onnx.ModelProto:
    """Return a net as ONNX with its normalisations as nodes and its names as they are."""
    buffer: Any = io.BytesIO()  # takes one as well, whatever its types say
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter announces its successor
        torch.onnx.export(
            net, (torch.zeros(2, 3, 32, 32),), buffer, dynamo=False, opset_version=17, do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE, input_names=["image"], output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())


def plan_to(model: onnxprune.Model, analysis: Any, scores: Any, method: str, gone: float) -> Plan:
    """Return the plan of the smallest ratio that removes the share `gone` of the parameters."""
    low, high = 0.0, 1.0
    for _ in range(PRECISION):
        middle = (low + high) / 2
        found = onnxprune.plan(model, analysis, scores, Budget(ratio=middle), method, round_to=1)
        low, high = (low, middle) if found.reached["params"] <= 1 - gone else (middle, high)
    return onnxprune.plan(model, analysis, scores, Budget(ratio=high), method, round_to=1)


def compress(path: Path, cache: Path, method: str, gone: float, recipe: Recipe, device: str) -> Row:
    """Return of a net the shares of parameters and MACs left, and top-1 before, after cut, refit, and each training."""
    model = onnxprune.load(path)
    analysis = onnxprune.inspect(model)
    data, train, test = (
        open_data(cache / f"{name}.npz", model.graph.input_specs, PIXELS) for name in ("calibration", "train", "test")
    )

    def top1(proto: Any, weights: Any) -> float:
        with on_disk(proto, weights, None) as read:  # as the values of a large cut are not in it before
            return 100 * evaluate(open_session(*read), test).top1

    scores = onnxprune.score(analysis, onnxprune.collect(analysis, data, method, widths=False), method)
    plan = plan_to(model, analysis, scores, method, gone)
    cut, plan = onnxprune.apply(model, analysis, plan)
    onnxprune.verify(model, analysis, cut, data)
    recovered = onnxprune.recover(model, cut, data)
    row: Row = {
        "params": plan.reached["params"],
        "left": plan.reached["macs"],
        "before": top1(model.proto, model.weights),
        "cut": top1(cut.model, cut.weights),
        "refit": top1(recovered.model, recovered.weights),
    }
    small = cache / f"{path.stem}.small.onnx"
    onnxprune.save(recovered, small)
    training, validation = split(train, 0.1, SEED)
    graph = onnxprune.load(small).graph
    for part in PARTS:
        mine = replace(recipe, part=part)
        _, *found = tune(graph, training, validation, None, mine, Processes(0, 1, find_device(device)))
        row[part] = top1(*found)
    return row


def main() -> None:
    """Measure, print, and write the page where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--jobs", default=JOBS, help="net:method:share of the parameters that goes")
    parser.add_argument("--epochs", type=int, default=60, help="of training from nothing")
    parser.add_argument("--retrain", type=int, default=20, help="epochs after pruning")
    parser.add_argument("--images", type=int, default=50_000, help="training images, as many of each class")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    device = find_device(options.device)
    archive = options.shared / "data" / "cifar10_jpeg.zip"
    sets = write_sets(archive, options.cache, CALIBRATION, options.images)
    recipe = Recipe(epochs=options.retrain, augment=("crop", "flip"))
    rows = Rows(options.cache / "compression.jsonl", KEYS)
    rows.mend()
    shared = {"retrain": options.retrain, "images": len(sets["train"][1])}
    jobs = []
    for job in options.jobs.split(","):
        net, method, gone = job.split(":")
        given = options.shared / "models" / f"{net}.onnx"
        epochs = 0 if given.exists() else options.epochs
        jobs.append({"net": net, "method": method, "gone": float(gone.rstrip("%")) / 100, "epochs": epochs, **shared})
    for job in jobs:
        if rows.key(job) in rows.done():
            continue
        path = options.shared / "models" / f"{job['net']}.onnx"
        if job["epochs"]:
            path = options.cache / f"{job['net']}-{job['epochs']}-{job['images']}.onnx"
            trained_net(job["net"], path, sets["train"], options.epochs, device)
        row = {**job, **compress(path, options.cache, job["method"], job["gone"], recipe, options.device)}
        rows.append({**row, "device": device.type})
        print(*row.values(), sep="  ", flush=True)
    if options.page is not None:
        options.page.write_text(page(rows.read(), len(sets["test"][1])), encoding="utf-8")


def page(rows: Sequence[Row], tested: int) -> str:
    """Return the page of some rows."""
    devices = " and ".join(sorted({row["device"] for row in rows}))
    text = (
        "# To the papers' compression\n\nWritten by `python -m benchmarks.compression`: nets trained from nothing on "
        "so many images of CIFAR-10\nfor so many epochs (a dash: trained before, on all), pruned, recovered by `refit` "
        "and retrained in part or whole\non these images for so many; top-1 in percent on "
        f"{tested} test images, {devices}, seed {SEED}.\n\n"
    )
    head = ["net", "method", "images", "epochs", "params gone %", "MACs left %", "before", "cut", "refit"]
    lines = [
        [row["net"], row["method"], str(row["images"]), str(row["epochs"] or "-")]
        + [f"{100 * (1 - row['params']):.1f}", f"{100 * row['left']:.1f}"]
        + [f"{row[name]:.2f}" for name in ("before", "cut", "refit")]
        + [str(row["retrain"]), *(f"{row[part]:.2f}" for part in PARTS)]
        for row in rows
    ]
    return text + table([*head, "retrained", *PARTS], lines)


if __name__ == "__main__":
    main()
