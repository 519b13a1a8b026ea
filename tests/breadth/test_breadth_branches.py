"""Branches of real architectures left out, with every other width halved: cut equals mask, and the branch's nodes go.

Reads weightless graphs of public architectures from ../shared/arch; skipped where that folder is absent.
"""

import numpy as np
import onnx
import pytest
from nets import random_keep
from places import SHARED

from benchmarks.coverage import fill
from onnxprune.analysis.analyse import analyse
from onnxprune.analysis.analysis import counts
from onnxprune.graph.model import read_graph
from onnxprune.surgery.cut import cut
from onnxprune.values.branches import Branch
from onnxprune.verification.equality import check_equality

ARCH = SHARED / "arch"

BRANCHES = {
    "tv_resnet18.ts17": 8,
    "tv_resnext50_32x4d.dyn18": 16,
    "tv_mobilenet_v2.dyn18": 10,
    "tv_mobilenet_v3_small.ts17": 6,
    "tv_efficientnet_b0.dyn18": 9,
    "tv_regnet_x_400mf.ts17": 22,
    "tv_densenet121.ts17": 58,
    "tv_googlenet.dyn18": 36,
    "tv_squeezenet1_1.ts17": 16,
    "tv_swin_t.ts17": 24,
    "timm_mobilevit_xs.ts17": 21,
    "timm_cspdarknet53.ts17": 6,
}

pytestmark = pytest.mark.skipif(not ARCH.is_dir(), reason=f"the architectures are not at hand ({ARCH.name} is absent)")


@pytest.mark.parametrize("net", BRANCHES)
def test_branches_of_a_real_network_are_left_out(net: str) -> None:
    model = fill(onnx.load(ARCH / f"{net}.onnx"))
    analysis = analyse(read_graph(model))
    assert len(analysis.branches) == BRANCHES[net]
    chosen: list[Branch] = []
    for branch in analysis.branches[::3]:
        if not analysis.misfits([*chosen, branch]):
            chosen.append(branch)
    empty = {name: np.zeros(analysis.by_name[name].size, dtype=bool) for branch in chosen for name in branch.groups}
    keep = {**random_keep(analysis), **empty}
    result = cut(analysis, keep)
    specs = [(spec.name, spec.shape) for spec in analysis.graph.input_specs]
    rng = np.random.default_rng(0)
    feed = {name: rng.normal(size=[size or 1 for size in shape or ()]).astype(np.float32) for name, shape in specs}
    found = check_equality(analysis, result.model, result.masks, [feed], result.weights, result.branches)
    assert found.status == "equal", found
    left = {output for node in result.model.graph.node for output in node.output}
    nodes = analysis.graph.nodes
    assert not left & {name for branch in chosen for number in branch.nodes for name in nodes[number].outputs}
    smaller = analyse(read_graph(result.model, result.weights))
    assert smaller.macs() == pytest.approx(analysis.costs.macs_at(counts(keep)))
