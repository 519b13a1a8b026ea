"""One-layer models: each is what the network has, at the network's own width and at others."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from nets import net

from onnxprune.graph.model import read_graph
from onnxprune.graph.single_layer import layer_model, single_layer

NETS = {
    "conv": ("Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, w, b)", "float[1,6,8,8] x", [8, 6, 3, 3], 8),
    "grouped": ("Conv<group=2>(x, w, b)", "float[1,6,8,8] x", [8, 3, 3, 3], 8),
    "depthwise": ("Conv<group=6>(x, w, b)", "float[1,6,8,8] x", [12, 1, 3, 3], 12),
    "transposed": ("ConvTranspose<strides=[2,2]>(x, w, b)", "float[1,6,8,8] x", [6, 4, 2, 2], 4),
    "transposed depthwise": ("ConvTranspose<group=6>(x, w, b)", "float[1,6,8,8] x", [6, 2, 2, 2], 12),
    "gemm": ("Gemm<transB=1>(x, w, b)", "float[1,6] x", [8, 6], 8),
    "gemm not transposed": ("Gemm(x, w, b)", "float[1,6] x", [6, 8], 8),
}
OTHERS = {
    "conv": (4, 5, 3, 3),
    "grouped": (4, 2, 3, 3),
    "depthwise": (8, 1, 3, 3),
    "transposed": (3, 2, 2, 2),
    "transposed depthwise": (3, 2, 2, 2),
    "gemm": (3, 4),
    "gemm not transposed": (3, 4),
}


def one(kind: str) -> Any:
    text, data, weight, bias = NETS[kind]
    declared = f"float[{','.join(map(str, weight))}] w, float[{bias}] b"
    graph = read_graph(net(f"({data}) => (y) <{declared}> {{ y = {text} }}"))
    return graph, single_layer(graph, graph.nodes[0])


@pytest.mark.parametrize("kind", NETS)
def test_at_its_own_width_a_layer_reads_and_makes_what_it_does_in_the_network(kind: str) -> None:
    graph, layer = one(kind)
    model, data = layer_model(layer, layer.weight)
    assert data == graph.facts.shape_pair("x")[0]
    assert run(model, data).shape == graph.facts.shape_pair("y")[0]


@pytest.mark.parametrize("kind", NETS)
def test_at_other_widths_it_runs(kind: str) -> None:
    _, layer = one(kind)
    model, data = layer_model(layer, OTHERS[kind])
    assert data != layer.data
    assert run(model, data).size


def test_products_of_activations_and_unknown_ops_are_no_layers() -> None:
    graph = read_graph(net("(float[2,3] x, float[3,4] z) => (y, u) { y = MatMul(x, z) u = Relu(x) }"))
    assert [single_layer(graph, node) for node in graph.nodes] == [None, None]


def test_a_matrix_product_with_a_weight_is_one() -> None:
    graph = read_graph(net("(float[2,5,6] x) => (y) <float[6,8] w> { y = MatMul(x, w) }"))
    layer = single_layer(graph, graph.nodes[0])
    assert layer is not None
    model, data = layer_model(layer, (4, 3))
    assert data == (2, 5, 4)
    assert run(model, data).shape == (2, 5, 3)


def run(model: onnx.ModelProto, data: tuple[int, ...]) -> Any:
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.zeros(data, dtype=np.float32)})[0]
