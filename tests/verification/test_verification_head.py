"""A classifier cut to some of its classes: against the oracle, and against arithmetic on the scores of the whole."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from nets import net, random_feed, random_keep, run
from numpy.typing import NDArray

from onnxprune.analysis.analyse import analyse
from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.head import class_axis
from onnxprune.graph.checking import check_structure
from onnxprune.graph.model import read_graph
from onnxprune.surgery.cut import cut
from onnxprune.values.axes import BoolArray
from onnxprune.values.equality import Equality
from onnxprune.verification.equality import check_equality

NET = """(float[n, 2, 6, 6] x) => (float[n, 7{more}] y)
    <float[12, 2, 3, 3] w, float[8, 12, 1, 1] k, float[7, 8] v, float[7] b, float[7] t,
     int64[4] shape = {{0, 7, 1, 1}}> {{
        c = Conv(x, w)
        r = Relu(c)
        d = Conv(r, k)
        e = Relu(d)
        g = GlobalAveragePool(e)
        f = Flatten(g)
        s = Gemm<transB = 1>(f, v, b)
        {tail}
    }}"""
LEFT = [1, 4, 6]

HEADS = {
    "logits": ("y = Identity(s)", "", lambda z: z),
    "scaled": ("y = Mul(s, t)", "", None),
    "sigmoid": ("y = Sigmoid(s)", "", lambda z: 1 / (1 + np.exp(-z))),
    "softmax": ("y = Softmax(s)", "", lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)),
    "log softmax": ("y = LogSoftmax(s)", "", lambda z: z - np.log(np.exp(z).sum(axis=1, keepdims=True))),
    "log of softmax": ("p = Softmax(s) y = Log(p)", "", lambda z: z - np.log(np.exp(z).sum(axis=1, keepdims=True))),
    "trailing ones": ("y = Reshape(s, shape)", ", 1, 1", lambda z: z[:, :, None, None]),
    "softmax of trailing ones": (
        "q = Reshape(s, shape) y = Softmax<axis = 1>(q)",
        ", 1, 1",
        lambda z: (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))[:, :, None, None],
    ),
}


def opened(head: str, opset: int = 17) -> tuple[onnx.ModelProto, Analysis]:
    tail, more, _ = HEADS[head]
    model = net(NET.format(tail=tail, more=more), opset=opset)
    graph = read_graph(model)
    return model, analyse(graph, head=class_axis(graph))


def masks(analysis: Analysis, *, inner: bool = True) -> Mapping[str, BoolArray]:
    assert analysis.classes is not None
    keep = dict(random_keep(analysis)) if inner else {}
    return {**keep, analysis.classes.name: np.isin(np.arange(7), LEFT)}


def checked(analysis: Analysis, keep: Mapping[str, BoolArray], model: onnx.ModelProto | None = None) -> Equality:
    result = cut(analysis, keep)
    feed = random_feed(analysis.graph.model, free={"n": 3})
    return check_equality(analysis, model or result.model, result.masks, [feed])


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("head", HEADS)
def test_the_cut_equals_the_mask_and_names_and_shapes_fit(head: str, inner: bool, opset: int) -> None:
    model, analysis = opened(head, opset)
    keep = masks(analysis, inner=inner)
    result = cut(analysis, keep)
    check_structure(result.model, model)
    (output,) = result.model.graph.output
    assert output.name == "y"
    dims = output.type.tensor_type.shape.dim
    assert [dim.dim_value or dim.dim_param for dim in dims] == ["n", 3, *[1] * (len(dims) - 2)]
    found = checked(analysis, keep)
    assert (found.status, found.where) == ("equal", "outputs")
    assert found.error <= 1e-6


@pytest.mark.parametrize("head", [name for name, (_, _, exact) in HEADS.items() if exact is not None])
def test_the_scores_are_those_of_the_whole_classifier_on_these_classes(head: str) -> None:
    """Without the oracle: the logits of the original, the chosen columns of them, and the head by numpy."""
    _, analysis = opened(head)
    _, logits = opened("logits")
    feed = random_feed(analysis.graph.model, free={"n": 3})
    scores: NDArray[Any] = run(logits.graph.model, feed)[0].astype(np.float64)
    exact: Any = HEADS[head][2]
    slim = run(cut(analysis, masks(analysis, inner=False)).model, feed)[0]
    np.testing.assert_allclose(slim, exact(scores[:, LEFT]), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("head", ["logits", "softmax"])
def test_other_classes_than_the_chosen_are_noticed(head: str, inner: bool) -> None:
    _, analysis = opened(head)
    keep = masks(analysis, inner=inner)
    wrong = {name: np.isin(np.arange(7), [0, 4, 6]) if len(mask) == 7 else mask for name, mask in keep.items()}
    assert checked(analysis, keep, cut(analysis, wrong).model).status == "different"
    swapped = onnx.ModelProto()
    swapped.CopyFrom(cut(analysis, keep).model)
    for tensor in swapped.graph.initializer:
        if tensor.name in ("v", "b"):
            value = onnx.numpy_helper.to_array(tensor)[[1, 0, 2]]
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    assert checked(analysis, keep, swapped).status == "different"


@pytest.mark.parametrize("head", ["logits", "softmax"])
def test_a_softmax_over_fewer_classes_proves_nothing_of_channels(head: str) -> None:
    """Channels that are dead anyway: that scores are shared out anew among fewer classes is no proof of their cut."""
    tail, more, _ = HEADS[head]
    model = net(NET.format(tail=tail, more=more))
    for tensor in model.graph.initializer:
        if tensor.name == "k":
            value = onnx.numpy_helper.to_array(tensor).copy()
            value[:, :6] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, "k"))
    graph = read_graph(model)
    analysis = analyse(graph, head=class_axis(graph))
    keep = {"c": np.arange(12) >= 6, **masks(analysis, inner=False)}
    found = checked(analysis, keep)
    assert (found.status, found.error <= 1e-6) == ("unproven", True)
    alive = {"c": np.arange(12) < 6, **masks(analysis, inner=False)}
    assert checked(analysis, alive).status == "equal"


def test_scores_that_are_all_alike_prove_nothing() -> None:
    model = net(NET.format(tail="y = Identity(s)", more=""))
    for tensor in model.graph.initializer:
        if tensor.name in ("v", "b"):
            value = np.ones(tuple(tensor.dims), dtype=np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    graph = read_graph(model)
    analysis = analyse(graph, head=class_axis(graph))
    assert checked(analysis, masks(analysis, inner=False)).status == "unproven"
