"""Train the two sample networks on scikit-learn's handwritten digits and write everything beside this file.

``python sample_models/train.py`` regenerates, from fixed seeds and without a network connection:

* ``calib/<digit>/NNNN.png``: 30 images a class out of the training split (NNNN is the row in the data set),
* ``test/<digit>/NNNN.png``: the whole test split,
* ``digits_resnet.onnx``: a residual network whose BatchNormalization layers stay nodes of the graph,
* ``digits_convnet.onnx``: a plain convolutional network with a hidden fully connected layer and no
  BatchNormalization in the file (it is folded into the weights before the export).

Both are wider than the task needs and are trained with a *trimmed group lasso*: among the channels of one
group (all the channels that must live or die together, a residual stream included) every one but the
strongest quarter pays for the norm of its BatchNormalization (scale, shift) pairs, by a proximal step after
every optimiser step. Channels that pay reach exactly zero, so the files hold slack for a pruning tool
to find.
"""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnxruntime as ort
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (torch's own convention)
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

HERE = Path(__file__).resolve().parent
SEED = 20
CLASSES = 10
GREY_LEVELS = 16  # the data set counts ink from 0 to 16
TEST_SHARE = 0.25
CALIBRATION_PER_CLASS = 30
LIVE_SHARE = 0.25  # of the channels of every group, spared by the penalty
OPSET = 17

EPOCHS = 100
WARM_UP_EPOCHS = 10  # without penalty
BATCH = 64
PEAK_RATE = 0.1
PENALTY = 0.1  # strength of the trimmed group lasso
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.05

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
Groups = dict[str, list[BatchNorm]]


# ---------------------------------------------------------------------------------------------- networks


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(outputs)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, outputs, 3, stride)
        self.relu1 = nn.ReLU()
        self.conv2, self.bn2 = conv_bn(outputs, outputs, 3)
        self.projects = stride != 1 or inputs != outputs
        if self.projects:
            self.shortcut_conv, self.shortcut_bn = conv_bn(inputs, outputs, 1, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        shortcut = self.shortcut_bn(self.shortcut_conv(x)) if self.projects else x
        output: Tensor = self.relu2(inner + shortcut)
        return output


class DigitsResNet(nn.Module):
    """Stem and three residual stages of 32, 48 and 64 channels at 8x8, 4x4 and 2x2 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem_conv, self.stem_bn = conv_bn(1, 32, 3)
        self.stem_relu = nn.ReLU()
        self.stage1 = nn.Sequential(Block(32, 32))
        self.stage2 = nn.Sequential(Block(32, 48, stride=2), Block(48, 48))
        self.stage3 = nn.Sequential(Block(48, 64, stride=2), Block(64, 64))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(64, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem_relu(self.stem_bn(self.stem_conv(image)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.head(self.flatten(self.pool(x)))
        return logits

    def groups(self) -> Groups:
        """Every block has one group inside; every stage has one stream that all its blocks add to."""
        found: Groups = {"stage1.stream": [self.stem_bn]}
        for stage, blocks in (("stage1", self.stage1), ("stage2", self.stage2), ("stage3", self.stage3)):
            stream = found.setdefault(f"{stage}.stream", [])
            for index, block in enumerate(cast(Iterable[Block], blocks)):
                found[f"{stage}.{index}.inner"] = [block.bn1]
                stream += [block.bn2, block.shortcut_bn] if block.projects else [block.bn2]
        return found


class DigitsConvNet(nn.Module):
    """Three convolutions of 32, 64 and 96 channels, two max pools and a hidden layer of 256 neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(1, 32, 3)
        self.conv2, self.bn2 = conv_bn(32, 64, 3)
        self.conv3, self.bn3 = conv_bn(64, 96, 3)
        self.hidden, self.bn4 = nn.Linear(96 * 2 * 2, 256, bias=False), nn.BatchNorm1d(256)
        self.output = nn.Linear(256, CLASSES)
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))
        self.pool2, self.pool3 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.flatten = nn.Flatten()

    def forward(self, image: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(image)))
        x = self.pool2(self.relu2(self.bn2(self.conv2(x))))
        x = self.pool3(self.relu3(self.bn3(self.conv3(x))))
        x = self.relu4(self.bn4(self.hidden(self.flatten(x))))
        logits: Tensor = self.output(x)
        return logits

    def groups(self) -> Groups:
        return {"conv1": [self.bn1], "conv2": [self.bn2], "conv3": [self.bn3], "hidden": [self.bn4]}

    def fold(self) -> None:
        """Fold every BatchNormalization into the layer before it and leave nothing in its place."""
        self.conv1 = fuse_conv_bn_eval(self.conv1, self.bn1)
        self.conv2 = fuse_conv_bn_eval(self.conv2, self.bn2)
        self.conv3 = fuse_conv_bn_eval(self.conv3, self.bn3)
        self.hidden = fuse_linear_bn_eval(self.hidden, self.bn4)
        for name in ("bn1", "bn2", "bn3", "bn4"):
            setattr(self, name, nn.Identity())


Net = DigitsResNet | DigitsConvNet


# -------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Split:
    """Images of one split as their PNG files hold them, with their labels and rows in the data set."""

    pixels: np.ndarray  # uint8 [n, 8, 8]
    labels: np.ndarray  # int64 [n]
    rows: np.ndarray  # int64 [n]

    def take(self, positions: np.ndarray) -> Split:
        return Split(self.pixels[positions], self.labels[positions], self.rows[positions])

    def images(self) -> Tensor:
        """Pixels over 255, as the ``unit`` preprocessing preset makes them."""
        return torch.from_numpy(self.pixels).unsqueeze(1).float() / 255

    def targets(self) -> Tensor:
        return torch.from_numpy(self.labels)


def load_splits() -> tuple[Split, Split, Split]:
    """Return the training, calibration (a part of training) and test splits, stratified by class."""
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / GREY_LEVELS)).astype(np.uint8)
    whole = Split(pixels, digits.target.astype(np.int64), np.arange(len(pixels)))
    train_rows, test_rows = train_test_split(whole.rows, test_size=TEST_SHARE, stratify=whole.labels, random_state=SEED)
    train, test = whole.take(np.sort(train_rows)), whole.take(np.sort(test_rows))
    pick = np.random.default_rng(SEED)
    calibration = np.concatenate(
        [
            pick.choice(np.flatnonzero(train.labels == digit), CALIBRATION_PER_CLASS, replace=False)
            for digit in range(CLASSES)
        ]
    )
    return train, train.take(np.sort(calibration)), test


def write_folder(split: Split, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    for digit in range(CLASSES):
        (folder / str(digit)).mkdir(parents=True)
    for pixels, label, row in zip(split.pixels, split.labels, split.rows, strict=True):
        Image.fromarray(pixels).save(folder / str(label) / f"{row:04d}.png", optimize=True)


def augment(images: Tensor) -> Tensor:
    """Turn, scale and shift every image a little, each by its own draw."""
    count = len(images)
    angle = (torch.rand(count) * 2 - 1) * math.radians(12)
    scale = 1 + (torch.rand(count) * 2 - 1) * 0.12
    shift = (torch.rand(count, 2) * 2 - 1) * 0.15
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1)
    grid = F.affine_grid(rows.view(count, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


# ---------------------------------------------------------------------------------------------- training


class TrimmedGroupLasso:
    """Proximal step of a penalty on the norms of all but the ``LIVE_SHARE`` largest channels of a group.

    The norm of a channel runs over the scale and shift of every BatchNormalization that produces it, so a
    channel at zero is silent wherever it is written. A channel that reached zero stays there.
    """

    def __init__(self, members: list[BatchNorm]) -> None:
        self.parameters = [parameter for bn in members for parameter in (bn.weight, bn.bias)]
        self.width = members[0].num_features
        self.spared = max(8, round(self.width * LIVE_SHARE))
        self.dead = torch.zeros(self.width, dtype=torch.bool)

    @torch.no_grad()
    def step(self, amount: float) -> None:
        stacked = torch.stack(list(self.parameters))
        norm = stacked.norm(dim=0).masked_fill(self.dead, 0)
        threshold = amount * math.sqrt(len(self.parameters) / 2)
        factor = (1 - threshold / norm.clamp_min(1e-12)).clamp_min(0)
        factor[norm.topk(self.spared).indices] = 1
        if amount > 0:
            self.dead |= factor == 0
        factor[self.dead] = 0
        for parameter in self.parameters:
            parameter.mul_(factor)


def batches(split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    images, targets = split.images(), split.targets()
    order = torch.randperm(len(images))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        yield augment(images[chosen]), targets[chosen]


def optimiser_for(net: Net) -> torch.optim.SGD:
    """Stochastic gradient descent with weight decay on the weights of convolutions and matrices alone."""
    decayed = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=PEAK_RATE, momentum=0.9, nesterov=True)


def train(net: Net, split: Split) -> None:
    """Train on a one-cycle schedule; the state after the last epoch is the result, nothing is selected."""
    optimiser = optimiser_for(net)
    penalties = [TrimmedGroupLasso(members) for members in net.groups().values()]
    steps = EPOCHS * (len(split.labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps, pct_start=0.15)
    net.train()
    for epoch in range(EPOCHS):
        strength = PENALTY if epoch >= WARM_UP_EPOCHS else 0.0
        for images, targets in batches(split):
            loss = F.cross_entropy(net(images), targets, label_smoothing=LABEL_SMOOTHING)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            for penalty in penalties:
                penalty.step(strength * float(schedule.get_last_lr()[0]))
            schedule.step()
    net.eval()


def dead_channels(net: Net) -> dict[str, tuple[int, int]]:
    """Return, for every group, how many channels are exactly silent and how many there are."""
    counts = {}
    for name, members in net.groups().items():
        silent = torch.stack([(bn.weight == 0) & (bn.bias == 0) for bn in members]).all(dim=0)
        counts[name] = (int(silent.sum()), len(silent))
    return counts


# ------------------------------------------------------------------------------------------------ export


def export(net: Net, path: Path) -> None:
    """Write the network as ONNX; ``PRESERVE`` keeps the exporter from folding BatchNormalization."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter announces its successor
        torch.onnx.export(
            net,
            (torch.zeros(1, 1, 8, 8),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )
    tidy(path)


def tidy(path: Path) -> None:
    """Drop notes on where the graph was traced, name the graph, unshare its weights, check the file."""
    model = onnx.load(path)
    unshare(model.graph)
    model.graph.name = path.stem
    model.doc_string = ""
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
        node.name = node.name.removeprefix("/")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def unshare(graph: onnx.GraphProto) -> None:
    """Give every parameter its own initializer.

    The exporter stores equal tensors once and reads them through Identity nodes. The two shifts that meet
    in an Add behind a projection are equal: they get the same gradients and the same penalty.
    """
    weights = {initializer.name: initializer for initializer in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Identity" and n.input[0] in weights]:
        copy = graph.initializer.add()
        copy.CopyFrom(weights[node.input[0]])
        copy.name = node.output[0]
        graph.node.remove(node)


def check_operators(net: Net, path: Path) -> None:
    """Make sure that the exporter neither folded a BatchNormalization nor left helpers behind."""
    found = Counter(node.op_type for node in onnx.load(path).graph.node)
    expected = sum(isinstance(module, BatchNorm) for module in net.modules())
    if found["BatchNormalization"] != expected or found["Identity"]:
        raise RuntimeError(f"{path.name}: {expected} BatchNormalization layers, exported as {dict(found)}")


def onnx_logits(path: Path, split: Split) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": split.images().numpy()})
    return np.asarray(logits)


# -------------------------------------------------------------------------------------------------- main


@dataclass(frozen=True)
class Result:
    """One row of the printed table."""

    name: str
    parameters: int
    kilobytes: float
    top1: float
    seconds: float
    gap: float  # largest |onnxruntime - torch| logit on the test split


def build(name: str, make: Callable[[], Net], train_split: Split, test_split: Split) -> Result:
    """Train, export and check one network."""
    torch.manual_seed(SEED)
    net = make()
    started = time.perf_counter()
    train(net, train_split)
    seconds = time.perf_counter() - started
    for group, (dead, width) in dead_channels(net).items():
        print(f"{name}: {group}: {dead} of {width} channels silent")
    if isinstance(net, DigitsConvNet):
        net.fold()
    path = HERE / f"{name}.onnx"
    export(net, path)
    check_operators(net, path)
    with torch.no_grad():
        expected = net(test_split.images()).numpy()
    logits = onnx_logits(path, test_split)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    parameters = sum(p.numel() for p in net.parameters())
    top1 = float((logits.argmax(1) == test_split.labels).mean())
    gap = float(np.abs(logits - expected).max())
    return Result(name, parameters, path.stat().st_size / 1000, top1, seconds, gap)


def print_table(results: list[Result], images: int) -> None:
    print(f"\n{'model':<16}{'parameters':>12}{'kB':>8}{'top-1':>9}{'seconds':>9}{'max |ort-torch|':>18}")
    for r in results:
        print(f"{r.name:<16}{r.parameters:>12,}{r.kilobytes:>8.0f}{r.top1:>9.2%}{r.seconds:>9.0f}{r.gap:>18.1e}")
    print(f"top-1 by onnxruntime on {images} test images; onnxruntime's logits equal torch's")


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    train_split, calibration, test_split = load_splits()
    write_folder(calibration, HERE / "calib")
    write_folder(test_split, HERE / "test")
    results = [
        build("digits_resnet", DigitsResNet, train_split, test_split),
        build("digits_convnet", DigitsConvNet, train_split, test_split),
    ]
    print_table(results, len(test_split.labels))


if __name__ == "__main__":
    main()
