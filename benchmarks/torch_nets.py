"""AlexNet, VGG-16 and ResNet-50 in the shapes that images of 32 x 32 pixels ask for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """What makes a net, and the learning rate that it is trained with."""

    make: Callable[[], nn.Module]
    rate: float


def alexnet() -> nn.Module:
    """Five convolutions and three fully connected layers with dropout, 23 million parameters.

    As nothing normalises, weights begin as large as ReLU asks for (He et al. 2015), or training does not leave chance.
    """
    layers: list[nn.Module] = []
    for inputs, outputs, stride, pool in (
        (3, 64, 2, True), (64, 192, 1, True), (192, 384, 1, False), (384, 256, 1, False), (256, 256, 1, True)
    ):  # fmt: skip
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(), *([nn.MaxPool2d(2)] if pool else [])]
    layers += [nn.Flatten(), nn.Dropout(), nn.Linear(256 * 4, 4096), nn.ReLU(), nn.Dropout()]
    net = nn.Sequential(*layers, nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 10))
    for layer in list(net.children())[:-1]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return net


def vgg16() -> nn.Module:
    """Thirteen convolutions with normalisation and two fully connected layers, 15 million parameters."""
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 10))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != 4 * width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [samples, 4 width, height, width of the image]."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        return functional.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


def resnet50() -> nn.Module:
    """Sixteen bottlenecks behind a 3x3 convolution, 23.5 million parameters."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    channels = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(count):
            layers.append(Bottleneck(channels, width, stride if block == 0 else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 10))


NETS: Mapping[str, Shape] = {
    "alexnet": Shape(alexnet, 0.01),
    "vgg16": Shape(vgg16, 0.05),
    "resnet50": Shape(resnet50, 0.1),
}
"""The nets by name."""
