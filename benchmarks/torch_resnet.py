"""ResNet-20 and ResNet-56 for CIFAR-10 as anyone would write them in torch, with the weights of the ONNX files.

Option A of He et al. 2016: a shortcut to more channels takes every second row and column and puts zero channels around.
"""

from pathlib import Path

import onnx
import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.padding = (width - channels) // 2 if stride != 1 or channels != width else 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [samples, width, height, width of the image], both halved where the stride is 2."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.padding:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(out + x)


class ResNet(nn.Module):
    """Three stages of `depth` blocks with 16, 32 and 64 channels: 3 blocks are ResNet-20, 9 ResNet-56."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, depth, 1)
        self.layer2 = self._stage(16, 32, depth, 2)
        self.layer3 = self._stage(32, 64, depth, 2)
        self.linear = nn.Linear(64, 10)

    def _stage(self, channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
        first = Block(channels, width, stride)
        return nn.Sequential(first, *(Block(width, width, 1) for _ in range(depth - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores, [samples, 10]."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        scores: torch.Tensor = self.linear(out.mean((2, 3)))
        return scores


def load_resnet(path: Path) -> ResNet:
    """Return the net of a file that names its weights as torch does, such as `cifar10_resnet20_bn.onnx`."""
    stored = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    blocks = sum(name.startswith("layer1.") and name.endswith("conv1.weight") for name in stored)
    net = ResNet(blocks)
    state = net.state_dict()
    for name, value in state.items():
        if name in stored:
            value.copy_(torch.from_numpy(onnx.numpy_helper.to_array(stored[name]).copy()))
        elif not name.endswith("num_batches_tracked"):
            raise SystemExit(f"{path} has no {name}")
    net.load_state_dict(state)
    return net
