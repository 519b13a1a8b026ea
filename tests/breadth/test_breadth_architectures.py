"""Real architectures at ratio 0.5 with random scores: cut equals mask, and as many MACs go as the widths allow.

Reads weightless graphs of public architectures from ../shared/arch; skipped where that folder is absent.
"""

import math

import onnx
import pytest
from places import SHARED

from benchmarks.coverage import prune_one
from onnxprune.analysis.analyse import analyse
from onnxprune.graph.model import read_graph

ARCH = SHARED / "arch"
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


@pytest.mark.parametrize("net", sorted({path.name.split(".")[0] for path in ARCH.glob("*.dyn18.onnx")}))
def test_both_exporters_give_the_same_groups(net: str) -> None:
    """As many channels, in groups of the same sizes, with exact groups only and with approximate ones as well."""
    sizes = []
    for export in EXPORTS:
        graph = read_graph(_zeros(onnx.load(ARCH / f"{net}.{export}.onnx")))
        found = (analyse(graph, approximate=approximate).prunable for approximate in (False, True))
        sizes.append([sorted(group.size for group in groups) for groups in found])
    assert sizes[0] == sizes[1]


def _zeros(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fill a weightless model with zeros, which is enough to analyse it."""
    for tensor in model.graph.initializer:
        if tensor.doc_string == "random":
            width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            tensor.raw_data = bytes(math.prod(tensor.dims) * width)
    return model


def test_unshared_constants_leave_2880_channels_to_prune_in_resnet18() -> None:
    row = prune_one(ARCH / "tv_resnet18.ts17.onnx", round_to=1)
    assert row["channels"] == 2880
