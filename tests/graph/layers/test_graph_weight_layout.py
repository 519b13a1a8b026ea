"""Where layers keep their weights: slots of the operands and counts of channels, against what the runtime makes."""

import pytest
from nets import net

from onnxprune.graph.layers.quantized import MICROSOFT
from onnxprune.graph.layers.weight_layout import CONVOLUTIONS, WEIGHTED, weight_layout
from onnxprune.graph.model import read_graph

LAYERS = {
    "conv": ("float[1,6,8,8] x", "Conv(x, w, b)", (4, 6, 3, 3), 4),
    "grouped conv": ("float[1,6,8,8] x", "Conv<group=2>(x, w, b)", (4, 3, 3, 3), 4),
    "conv transpose": ("float[1,6,8,8] x", "ConvTranspose(x, w, b)", (6, 4, 3, 3), 4),
    "grouped conv transpose": ("float[1,6,8,8] x", "ConvTranspose<group=2>(x, w, b)", (6, 2, 3, 3), 4),
    "gemm": ("float[1,6] x", "Gemm(x, w, b)", (6, 4), 4),
    "gemm of a transposed weight": ("float[1,6] x", "Gemm<transB=1>(x, w, b)", (4, 6), 4),
    "gemm of transposed data": ("float[6,1] x", "Gemm<transA=1>(x, w, b)", (6, 4), 4),
    "matmul": ("float[1,5,6] x", "MatMul(x, w)", (6, 4), 4),
    "matmul by matrices": ("float[2,5,6] x", "MatMul(x, w)", (2, 6, 4), 4),
}


@pytest.mark.parametrize(("data", "layer", "weight", "outputs"), LAYERS.values(), ids=LAYERS)
def test_channels_lie_where_shape_inference_finds_them(
    data: str, layer: str, weight: tuple[int, ...], outputs: int
) -> None:
    sizes = ",".join(map(str, weight))
    graph = read_graph(net(f"({data}) => (float y) <float[{sizes}] w, float[{outputs}] b> {{ y = {layer} }}"))
    node = graph.nodes[0]
    layout = node.weight_layout
    assert layout is not None
    assert layout.fits(weight)
    assert (node.inputs[layout.data], node.inputs[layout.weight]) == ("x", "w")
    assert layout.bias_of(node.inputs) == ("b" if "b" in node.inputs else None)
    shapes = graph.facts.shapes[0]
    assert layout.input_channels(weight) == shapes["x"][layout.data_axis] == 6
    assert layout.output_channels(weight) == shapes["y"][layout.output_axis] == outputs
    assert layout.data_rank(weight) in (None, len(shapes["x"]))
    assert layout.kernel(weight) == (weight[2:] if node.op in CONVOLUTIONS else ())
    assert not layout.quantized


QUANTIZED = {
    "QLinearConv": ("", "x sx zx w sw zw sy zy b", "Conv", (0, 3, 8)),
    "ConvInteger": ("", "x w zx zw", "Conv", (0, 1, None)),
    "QLinearMatMul": ("", "a sa za b sb zb sy zy", "MatMul", (0, 3, None)),
    "MatMulInteger": ("", "a b za zb", "MatMul", (0, 1, None)),
    "QGemm": (MICROSOFT, "a sa za b sb zb c sy zy", "Gemm", (0, 3, 6)),
}


@pytest.mark.parametrize("op", QUANTIZED)
def test_a_quantized_layer_is_laid_out_as_the_one_on_floats_in_other_slots(op: str) -> None:
    domain, inputs, plain, slots = QUANTIZED[op]
    found, like = weight_layout(op, {}, domain=domain, inputs=inputs.split()), weight_layout(plain, {})
    assert found is not None
    assert like is not None
    assert (found.data, found.weight, found.bias) == slots
    assert (found.inputs, found.outputs, found.convolves) == (like.inputs, like.outputs, like.convolves)
    assert found.quantized


@pytest.mark.parametrize(("op", "domain"), [("Relu", ""), ("QLinearAdd", MICROSOFT), ("Conv", "custom")])
def test_other_ops_have_no_weight(op: str, domain: str) -> None:
    assert weight_layout(op, {}, domain=domain, inputs="a sa za b sb zb".split()) is None


@pytest.mark.parametrize(("op", "shape"), [("Conv", (4, 3)), ("Gemm", (4,)), ("MatMul", ())])
def test_weights_of_a_wrong_rank_do_not_fit(op: str, shape: tuple[int, ...]) -> None:
    layout = weight_layout(op, {})
    assert op in WEIGHTED
    assert layout is not None
    assert not layout.fits(shape)
