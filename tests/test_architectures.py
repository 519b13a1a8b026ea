"""Real architectures at ratio 0.5 with random scores: cut equals mask, and as many MACs go as the widths allow.

Reads weightless graphs of public architectures from ../shared/arch; skipped where that folder is absent.
"""

from pathlib import Path

import pytest

from benchmarks.coverage import fill, prune_one
from onnxprune.analysis.analyse import analyse
from onnxprune.graph.loading import load_model
from onnxprune.graph.model import read_graph

ARCH = Path(__file__).parents[2] / "shared" / "arch"
EXPORTS = ("ts17", "dyn18")

# MACs, original over pruned, of the best public pipeline on the same nets at the same ratio: a floor, not a goal.
MACS_RATIO = {
    "alexnet": 3.62,
    "densenet121": 3.79,
    "efficientnet_b0": 3.52,
    "googlenet": 3.69,
    "mobilenet_v2": 3.49,
    "mobilenet_v3_small": 3.15,
    "regnet_x_400mf": 3.84,
    "resnet18": 3.74,
    "resnet50": 3.87,
    "resnext50_32x4d": 3.87,
    "squeezenet1_1": 3.02,
    "vgg16": 3.94,
}

pytestmark = pytest.mark.skipif(not ARCH.is_dir(), reason=f"the architectures are not at hand ({ARCH.name} is absent)")


@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("net", MACS_RATIO)
def test_a_plain_cnn_is_halved_in_every_width_and_equals_its_mask(net: str, export: str) -> None:
    if net == "vgg16" and export == "dyn18":
        pytest.skip("half a gigabyte of weights once is enough for the suite; the benchmark runs both")
    row = prune_one(ARCH / f"tv_{net}.{export}.onnx", round_to=1)
    assert row["status"] == "ok", row
    assert round(row["macs_ratio"], 2) >= MACS_RATIO[net]
    assert row["frozen"] == 1, "only the classifier's outputs are frozen"
    assert row["names_kept"]


@pytest.mark.parametrize("net", [net for net in MACS_RATIO if net != "vgg16"])
def test_both_exporters_give_the_same_groups(net: str) -> None:
    sizes = []
    for export in EXPORTS:
        analysis = analyse(read_graph(fill(load_model(ARCH / f"tv_{net}.{export}.onnx"))))
        sizes.append(sorted(group.size for group in analysis.prunable))
    assert sizes[0] == sizes[1]


def test_unshared_constants_leave_2880_channels_to_prune_in_resnet18() -> None:
    row = prune_one(ARCH / "tv_resnet18.ts17.onnx", round_to=1)
    assert row["channels"] == 2880
