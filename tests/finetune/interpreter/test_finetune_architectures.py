"""Real architectures in torch: the outputs of onnxruntime, a gradient for every weight, and the same file back.

Reads ../shared/arch (weightless graphs, filled with random weights), ../shared/zoo and ../shared/models, skipped where
those folders are absent, and the models in sample_models.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from places import SAMPLES, SHARED
from refusals import refused

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from benchmarks.coverage import fill  # noqa: E402
from onnxprune.finetune.interpreter.export import trained_model  # noqa: E402
from onnxprune.finetune.interpreter.module import GraphModule  # noqa: E402
from onnxprune.graph.inlining import inlined  # noqa: E402
from onnxprune.graph.model import Graph, read_graph  # noqa: E402
from onnxprune.runtime import open_session  # noqa: E402

Array = NDArray[Any]

FOLDERS = {"sample_models": SAMPLES} | {name: SHARED / name for name in ("models", "zoo", "arch")}
NETS = {f"{name}/{path.stem}": path for name, folder in FOLDERS.items() for path in sorted(folder.glob("*.onnx"))}

CLOSE = 1e-4
"""The error granted, as a share of the largest output."""

ROUGH = {"zoo/ppocr_v2_det": 1e-6}
"""What onnxruntime's own sigmoid is off by at numbers near 0, for a net that puts out nothing larger than 5e-4."""

POWER = 2
"""How much further apart the outputs of two samples are than the error granted, or the comparison proves nothing."""

REFUSED = {
    "arch/det_fasterrcnn_mobilenet_v3_large_fpn.ts17",
    "arch/det_retinanet_resnet50_fpn.ts17",
    "arch/det_ssdlite320_mobilenet_v3_large.ts17",
    "zoo/silero_model_micro",
    "zoo/silero_vad",
}
"""Nets that cannot be trained through, by an If: boxes are chosen, or networks, by the numbers themselves."""

DECIDED_BY = {"zoo/unet_clouds": "onnx::Greater_135"}
"""What is put out in the place of a yes or no for each pixel, which has no gradient."""

SHRUNK = {"arch/timm_starnet_s1.ts17": 0.5, "arch/timm_davit_tiny.ts17": 0.5}
"""Random weights are multiplied by this where chance makes a net that magnifies what single precision rounds off."""


def graph_of(net: str) -> Graph:
    model = onnx.load(NETS[net])
    random = [tensor.name for tensor in model.graph.initializer if tensor.doc_string == "random"]
    fill(model)
    for tensor in model.graph.initializer:
        if net in SHRUNK and tensor.name in random:
            values = onnx.numpy_helper.to_array(tensor) * np.float32(SHRUNK[net])
            tensor.raw_data = values.tobytes()
    if net in DECIDED_BY:
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(DECIDED_BY[net]))
    return read_graph(inlined(model)[0])


def feeds_of(graph: Graph, seed: int) -> dict[str, Array]:
    rng, feeds = np.random.default_rng(seed), {}
    for spec in graph.input_specs:
        shape = graph.facts.shapes[1][spec.name]
        assert spec.dtype.startswith("float")
        feeds[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
    return feeds


def run(module: GraphModule, feeds: Mapping[str, Array]) -> list[Array]:
    with torch.no_grad():
        made = module(*(torch.from_numpy(feeds[name]) for name in module.input_names))
    return [value.numpy() for value in (made if isinstance(made, tuple) else (made,))]


def distance(one: Sequence[Array], other: Sequence[Array], floor: float = 0.0) -> float:
    """Return the largest difference as a share of what is granted."""
    found = []
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        found.append(np.abs(a - b).max() / max(CLOSE * np.abs(a).max(), floor))
    return float(max(found))


@pytest.mark.parametrize("folder", sorted(set(FOLDERS) - {"sample_models"}))
def test_the_nets_are_at_hand(folder: str) -> None:
    if not FOLDERS[folder].is_dir():
        pytest.skip(f"the nets are not at hand ({folder} is absent)")
    assert any(net.startswith(f"{folder}/") for net in NETS)


@pytest.mark.parametrize("net", sorted(set(NETS) - REFUSED))
def test_a_net_gives_the_outputs_of_onnxruntime_the_same_file_and_gradients(net: str) -> None:
    if net == "arch/tv_vgg16.dyn18":
        pytest.skip("half a gigabyte of weights once is enough")
    graph = graph_of(net)
    module = GraphModule(graph).eval()
    session = open_session(graph.model, graph.weights, optimization="basic", threads=1, prepack=False)
    feeds = feeds_of(graph, 0)
    wanted = list(session.run(feeds).values())
    assert distance(wanted, run(module, feeds), ROUGH.get(net, 0.0)) <= 1
    several = module.samples is None
    others = [value[::-1] for value in wanted] if several else list(session.run(feeds_of(graph, 1)).values())
    assert distance(wanted, others, ROUGH.get(net, 0.0)) >= POWER
    assert_same_file_back(graph, module)
    assert_gradients(module, feeds)


def assert_same_file_back(graph: Graph, module: GraphModule) -> None:
    model, weights = trained_model(graph, module)
    assert model.SerializeToString() == graph.model.SerializeToString()
    assert not weights.changed


def assert_gradients(module: GraphModule, feeds: Mapping[str, Array]) -> None:
    """Train on torch's meta device, which has shapes without numbers: no size may pass through the device."""
    module = module.to("meta").train()
    made = module(*(torch.from_numpy(feeds[name]).to("meta") for name in module.input_names))
    torch.stack([value.sum() for value in (made if isinstance(made, tuple) else (made,))]).sum().backward()
    assert [name for name, value in module.trained().items() if value.grad is None] == []


@pytest.mark.parametrize("net", sorted(set(NETS) & REFUSED))
def test_a_net_that_cannot_be_trained_through_is_refused_by_the_name_of_the_op(net: str) -> None:
    with refused("unsupported-model", "If ", "control flow"):
        GraphModule(graph_of(net))
