"""Every op in torch against onnxruntime, on the cases that onnx has for a single node, and its gradient."""

import warnings
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from nets import net
from numpy.typing import NDArray
from onnx import TensorProto
from refusals import refused

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from onnx.backend.test.case.node import collect_testcases  # noqa: E402

from onnxprune.finetune.interpreter.module import GraphModule  # noqa: E402
from onnxprune.finetune.interpreter.ops.site import OPERATORS  # noqa: E402
from onnxprune.graph.model import read_graph  # noqa: E402

Array = NDArray[Any]

KINDS = frozenset("float16 float32 float64 int64 int32 int16 bool uint8 int8".split())
"""Types that both torch and onnxruntime have kernels for."""

NO_CASE = frozenset({"Cast", "CastLike"})
"""Ops of which onnx has only cases with types that numpy or torch have not; tested on their own."""

NO_VALUE = frozenset({"test_reduce_max_empty_set", "test_reduce_max_empty_set_bool", "test_reduce_min_empty_set"})
"""Cases that reduce nothing at all to the smallest or largest number that there is, which torch will not."""

WITHOUT_GRADIENT = frozenset(
    "And ArgMax ArgMin BitShift Ceil ConstantOfShape Equal Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual "
    "NonZero Not Or Range Round Shape Sign Size Xor".split()
)
"""Ops whose result is no smooth function of any input."""

GIVEN_INSTEAD = frozenset({"Trilu"})
"""Ops of which onnx has only cases of whole numbers."""

FIRST_ONLY = frozenset({"Pad", "Resize", "Upsample"})
"""Ops whose other float inputs are settings, read as plain numbers."""

SMALL = 30
"""Up to this many numbers every element of the Jacobian is checked; else its products with random vectors."""


class NotComputed(NamedTuple):
    """Cases of an op, by a part of their names, and what is said of them."""

    op: str
    part: str
    why: str


NOT_COMPUTED = (
    NotComputed("AveragePool", "dilations", "torch has no average pooling with dilations"),
    NotComputed("Dropout", "training", "in its training form"),
    NotComputed("GRU", "batchwise", "layout"),
    NotComputed("LSTM", "batchwise", "layout"),
    NotComputed("LSTM", "peepholes", "sequences of several lengths"),
    NotComputed("MaxPool", "argmax", "places of the winners"),
    NotComputed("RNN", "batchwise", "layout"),
    NotComputed("Resize", "_cubic", "resizing cubic"),
    NotComputed("Resize", "linear_antialias", "antialias"),
    NotComputed("Resize", "not_larger", "aspect ratio"),
    NotComputed("Resize", "not_smaller", "aspect ratio"),
    NotComputed("Resize", "tf_crop_and_resize", "coordinates tf_crop_and_resize"),
    NotComputed("ScatterND", "_m", "the reduction 'm"),
)
"""Cases that are refused by name; the smallest list that leaves all others to be computed."""


def values(case: Any) -> tuple[list[Any], list[Any]]:
    """Return inputs and outputs of a case, single numbers as arrays."""
    inputs, made = case.data_sets[0]
    return tuple([np.asarray(v) if isinstance(v, np.generic) else v for v in side] for side in (inputs, made))  # type: ignore[return-value]


@cache
def cases() -> Mapping[str, list[Any]]:
    found = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cases of exotic types are made with overflows
        everything = collect_testcases(None)
    for case in everything:
        model = case.model
        if case.kind != "node" or model is None or len(model.graph.node) != 1 or model.graph.node[0].domain:
            continue
        arrays = [value for side in values(case) for value in side]
        plain = all(isinstance(value, np.ndarray) and value.dtype.name in KINDS for value in arrays)
        if plain and model.graph.node[0].op_type in OPERATORS and case.name not in NO_VALUE:
            found[model.graph.node[0].op_type].append(case)
    return found


def refusals(op: str, case: Any) -> list[NotComputed]:
    return [row for row in NOT_COMPUTED if row.op == op and row.part in case.name]


def computed(op: str) -> list[Any]:
    return [case for case in cases()[op] if not refusals(op, case)]


def feeds_of(case: Any) -> dict[str, Array]:
    return {info.name: value for info, value in zip(case.model.graph.input, values(case)[0], strict=True)}


def as_constants(case: Any) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return the case with the whole numbers behind its first input as constants, and what is left to feed."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    del model.graph.input[:]
    feeds = {}
    for number, (info, value) in enumerate(zip(case.model.graph.input, values(case)[0], strict=True)):
        if number and value.dtype.kind in "iu":
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, info.name))
        else:
            model.graph.input.append(info)
            feeds[info.name] = value
    return model, feeds


def outputs(module: GraphModule, feeds: Mapping[str, Any]) -> list[Any]:
    made = module(*(torch.as_tensor(np.array(feeds[name])) for name in module.input_names))
    return list(made) if isinstance(made, tuple) else [made]


def expected(model: onnx.ModelProto, feeds: Mapping[str, Any], fallback: list[Array] | None = None) -> list[Array]:
    """Return what onnxruntime says, or the fallback where it has no kernel."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, dict(feeds)))
    except Exception:
        if fallback is None:
            raise
        return fallback


def assert_same(found: list[Any], wanted: list[Array], about: str) -> None:
    for one, other in zip(found, wanted, strict=True):
        one = one.detach().numpy()
        assert one.shape == other.shape, about
        assert one.dtype == other.dtype, about
        share = 2e-3 if other.dtype == np.float16 else 1e-4
        np.testing.assert_allclose(one, other, rtol=share, atol=share / 10, err_msg=about)


@pytest.mark.parametrize("op", sorted(set(OPERATORS) - NO_CASE))
def test_an_op_equals_onnxruntime_on_all_its_cases(op: str) -> None:
    assert computed(op), "no case at all"
    for case in computed(op):
        for model, feeds in ((case.model, feeds_of(case)), as_constants(case)):
            found = outputs(GraphModule(read_graph(model)).eval(), feeds)
            assert_same(found, expected(model, feeds, values(case)[1]), case.name)


@pytest.mark.parametrize("row", NOT_COMPUTED, ids=lambda row: f"{row.op}-{row.part}")
def test_what_is_not_computed_is_refused_by_name(row: NotComputed) -> None:
    named = [case for case in cases()[row.op] if row.part in case.name]
    assert named, "no such case"
    for case in named:
        for model in (case.model, as_constants(case)[0]):
            with refused("unsupported-model", f"{row.op} (", row.why):
                GraphModule(read_graph(model))


@pytest.mark.parametrize("op", sorted(NO_CASE))
def test_ops_without_a_case_have_none(op: str) -> None:
    assert not cases()[op]


@pytest.mark.parametrize("op", sorted(set(OPERATORS) - NO_CASE - WITHOUT_GRADIENT - GIVEN_INSTEAD))
def test_the_gradient_of_an_op_is_that_of_small_steps(op: str) -> None:
    checked = sum(gradient_holds(op, case) for case in computed(op))
    assert checked > 0, "no case has a gradient"


@pytest.mark.parametrize("op", sorted(WITHOUT_GRADIENT))
def test_an_op_without_a_gradient_hands_none_back(op: str) -> None:
    for case in computed(op):
        model, feeds = as_constants(case)
        module = GraphModule(read_graph(model)).eval()
        inputs = [torch.as_tensor(np.array(feeds[name])) for name in module.input_names]
        floats = [value.requires_grad_() for value in inputs if value.is_floating_point()]
        made = module(*inputs)
        if isinstance(made, torch.Tensor) and made.requires_grad:
            (grads,) = torch.autograd.grad(made.sum(), floats)
            assert not grads.any(), case.name


def gradient_holds(op: str, case: Any) -> bool:
    """Check the gradient of a case; return whether there was one to check."""
    model, feeds = as_constants(case)
    floats = [name for name, value in feeds.items() if value.dtype in (np.float32, np.float64) and value.size]
    floats = floats[: 1 if op in FIRST_ONLY else 3]  # behind these a BatchNormalization has its running statistics
    if not floats or not all(np.isfinite(feeds[name]).all() for name in floats):
        return False
    rng = np.random.default_rng(0)  # noise, as cases like to lie on corners
    given = {
        name: torch.as_tensor(
            value + 0.01 * rng.uniform(1, 2, value.shape) if name in floats else np.array(value, _wide(value.dtype))
        )
        for name, value in feeds.items()
    }
    return assert_gradient(GraphModule(read_graph(model)).eval(), given, floats, case.name)


def assert_gradient(module: GraphModule, given: Mapping[str, Any], floats: list[str], about: str) -> bool:
    """Check the gradient of a weighted sum of all that the module makes of doubles; return whether there is one."""

    def loss(*inputs: Any) -> Any:
        every = {**given, **dict(zip(floats, inputs, strict=True))}
        made = module(*(every[name] for name in module.input_names))
        made = made if isinstance(made, tuple) else (made,)
        floating = [value for value in made if value.is_floating_point()]
        weights = [torch.linspace(-1, 2, value.numel(), dtype=torch.float64) for value in floating]
        return sum((w * value.reshape(-1)).sum() for w, value in zip(weights, floating, strict=True))

    inputs = tuple(given[name].requires_grad_() for name in floats)
    if not getattr(loss(*inputs), "requires_grad", False):
        return False
    fast = sum(value.numel() for value in inputs) > SMALL
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-4, rtol=1e-3, fast_mode=fast), about
    return True


def _wide(dtype: np.dtype[Any]) -> Any:
    return np.float64 if dtype == np.float32 else dtype


def random(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shapes = {info.name: [dim.dim_value or 2 for dim in info.type.tensor_type.shape.dim] for info in model.graph.input}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def assert_equals_runtime(model: onnx.ModelProto, about: str = "") -> None:
    feeds = random(model)
    assert_same(outputs(GraphModule(read_graph(model)).eval(), feeds), expected(model, feeds), about)


def one_node(text: str, opset: int = 17, shape: str = "n, 4, 6, 6", weights: str = "") -> onnx.ModelProto:
    """Return `y = OP(x, ...)` of a float tensor of that shape."""
    declared = f"<{weights}>" if weights else ""
    return net(f"(float[{shape}] x) => (float[a, b, c, d] y) {declared} {{ {text} }}", opset=opset)


OLD_FORMS = {
    "Clip without bounds": (9, "y = Clip(x)"),
    "Clip with attributes": (9, "y = Clip<min = -0.5, max = 0.5>(x)"),
    "Pad with attributes": (9, "y = Pad<pads = [0, 0, 1, 2, 0, 0, 0, -1], value = 3.0>(x)"),
    "Slice with attributes": (9, "y = Slice<axes = [1, 3], starts = [1, -3], ends = [3, 9]>(x)"),
    "Slice with attributes, all axes": (9, "y = Slice<starts = [0, 1], ends = [9, 3]>(x)"),
    "Softmax over several axes": (11, "y = Softmax<axis = 2>(x)"),
    "LogSoftmax over several axes": (11, "y = LogSoftmax(x)"),
    "Split with an attribute": (11, "y, z = Split<axis = 1, split = [1, 3]>(x)"),
    "Squeeze and Unsqueeze with attributes": (11, "u = Unsqueeze<axes = [0, 3]>(x) y = Squeeze<axes = [0, 3]>(u)"),
    "sums over axes of an attribute": (11, "y = ReduceSum<axes = [1], keepdims = 0>(x)"),
    "means over axes of an attribute": (17, "y = ReduceMean<axes = [-1, 2]>(x)"),
    "TopK with two inputs": (10, "k = Constant<value = int64[1] {2}>() y, z = TopK<axis = 1>(x, k)"),
    "Dropout with an attribute": (9, "y, z = Dropout<ratio = 0.5>(x)"),
    "Upsample": (9, 's = Constant<value = float[4] {1.0, 1.0, 2.0, 1.5}>() y = Upsample<mode = "linear">(x, s)'),
    "Resize upwards": (10, "s = Constant<value = float[4] {1.0, 1.0, 2.2, 1.5}>() y = Resize(x, s)"),
    "Resize downwards": (10, "s = Constant<value = float[4] {1.0, 1.0, 0.7, 0.4}>() y = Resize(x, s)"),
    "GroupNormalization by group": (
        18,
        "s = Constant<value = float[2] {2.0, 0.5}>() b = Constant<value = float[2] {1.0, -1.0}>() "
        "y = GroupNormalization<num_groups = 2>(x, s, b)",
    ),
}


@pytest.mark.parametrize("form", OLD_FORMS)
def test_forms_of_old_opsets_equal_onnxruntime(form: str) -> None:
    opset, text = OLD_FORMS[form]
    assert_equals_runtime(one_node(text, opset), form)


WINDOWS = {
    "a ceiling behind uneven padding": (
        "MaxPool<kernel_shape = [2, 3], strides = [3, 3], pads = [1, 0, 0, 2], ceil_mode = 1>"
    ),
    "a mean behind uneven padding": "AveragePool<kernel_shape = [4, 3], strides = [3, 2], pads = [0, 1, 2, 1]>",
    "a mean with uneven padding": (
        "AveragePool<kernel_shape = [4, 3], strides = [3, 2], pads = [0, 1, 2, 1], ceil_mode = 1, "
        "count_include_pad = 1>"
    ),
    "a mean of the size of the data": 'AveragePool<kernel_shape = [3, 3], strides = [2, 3], auto_pad = "SAME_LOWER">',
    "a maximum of the size of the data": 'MaxPool<kernel_shape = [2, 3], strides = [2, 1], auto_pad = "SAME_UPPER">',
    "dilated maxima": "MaxPool<kernel_shape = [2, 3], dilations = [2, 1], pads = [1, 1, 1, 1]>",
}


@pytest.mark.parametrize("window", WINDOWS)
def test_pools_equal_onnxruntime_at_every_border(window: str) -> None:
    assert_equals_runtime(one_node(f"y = {WINDOWS[window]}(x)", shape="n, 3, 8, 9"), window)


CONVOLUTIONS = {
    "padding of the size of the data": 'Conv<strides = [2, 3], auto_pad = "SAME_LOWER">',
    "uneven padding": "Conv<group = 1, pads = [0, 2, 1, 0], dilations = [2, 1]>",
    "transposed": "ConvTranspose<strides = [2, 3], pads = [0, 2, 1, 1]>",
    "transposed with an extra row beyond the padding": (
        "ConvTranspose<strides = [2, 2], pads = [0, 1, 0, 1], output_padding = [1, 0]>"
    ),
    "transposed to a size": "ConvTranspose<strides = [2, 2], output_shape = [11, 14]>",
    "transposed of the size of the data": 'ConvTranspose<strides = [3, 1], auto_pad = "SAME_UPPER">',
    "transposed with strides past the window": 'ConvTranspose<strides = [4, 1], auto_pad = "SAME_LOWER">',
    "transposed without padding": 'ConvTranspose<strides = [2, 2], auto_pad = "VALID">',
}


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_convolutions_equal_onnxruntime_at_every_border(convolution: str) -> None:
    weights = "float[4, 4, 3, 3] w, float[4] b"
    assert_equals_runtime(one_node(f"y = {CONVOLUTIONS[convolution]}(x, w, b)", weights=weights), convolution)


@pytest.mark.parametrize(("ups", "nearest"), [("1.4, 2.6", "floor"), ("2.6, 0.6", "floor"), ("0.9, 1.7", "ceil")])
@pytest.mark.parametrize("how", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
def test_a_resize_rounds_sizes_and_places_as_onnxruntime_does(ups: str, nearest: str, how: str) -> None:
    scales = f"s = Constant<value = float[4] {{1.0, 1.0, {ups}}}>()"
    mode = f'coordinate_transformation_mode = "{how}", nearest_mode = "{nearest}"'
    assert_equals_runtime(one_node(f"{scales} y = Resize<{mode}>(x, , s)", shape="n, 2, 6, 5"))


def test_a_normalisation_of_single_positions_gives_its_bias() -> None:
    text = "y = InstanceNormalization(x, s, b)"
    assert_equals_runtime(one_node(text, shape="1, 4, 1, 1", weights="float[4] s, float[4] b"))


REFUSED = {
    "peepholes": ("y, h = LSTM<hidden_size = 4>(x, w, r, , , , , p)", "peepholes"),
    "a clip": ("y, h = LSTM<hidden_size = 4, clip = 1.0>(x, w, r)", "clip"),
    "coupled gates": ("y, h = LSTM<hidden_size = 4, input_forget = 1>(x, w, r)", "input_forget"),
    "other activations": (
        'y, h = LSTM<hidden_size = 4, activations = ["HardSigmoid", "Tanh", "Tanh"]>(x, w, r)',
        "activations other than Sigmoid, Tanh, Tanh",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_recurrent_layers_of_rare_kinds_are_refused_by_name(what: str) -> None:
    text, why = REFUSED[what]
    weights = "float[1, 16, 3] w, float[1, 16, 4] r, float[1, 12] p"
    with refused("unsupported-model", "LSTM (", why):
        GraphModule(read_graph(one_node(text, shape="5, n, 3", weights=weights)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            'y = MaxPool<kernel_shape = [2, 2], dilations = [2, 2], auto_pad = "SAME_UPPER">(x)',
            "auto_pad with dilations",
        ),
        (
            'y = AveragePool<kernel_shape = [1, 1], strides = [3, 3], auto_pad = "SAME_UPPER">(x)',
            "auto_pad with strides larger than the window",
        ),
        ("y = BatchNormalization<spatial = 0>(x, s, s, s, s)", "spatial = 0"),
        ("y, m, v = BatchNormalization(x, s, s, s, s)", "several outputs"),
        ("y = Add<broadcast = 1, axis = 1>(x, s)", "the rule of opset 6"),
        (
            "s0 = Constant<value = float[4] {1.0, 1.0, 2.0, 2.0}>() y = Resize<exclude_outside = 1>(x, , s0)",
            "exclude_outside",
        ),
    ],
)
def test_what_runtimes_disagree_about_is_refused_by_name(text: str, why: str) -> None:
    opset = 6 if "broadcast" in text else 8 if "spatial" in text else 13
    with refused("unsupported-model", why):
        GraphModule(read_graph(one_node(text, opset, weights="float[4] s")))


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("diagonal", [-1, 0, 2])
def test_a_triangle_has_values_and_gradients_of_its_own_half_alone(upper: int, diagonal: int) -> None:
    model = one_node(
        f"k = Constant<value = int64 {{{diagonal}}}>() y = Trilu<upper = {upper}>(x, k)", shape="1, 2, 3, 4"
    )
    assert_equals_runtime(model)
    given = {"x": torch.as_tensor(random(model)["x"], dtype=torch.float64)}
    assert assert_gradient(GraphModule(read_graph(model)), given, ["x"], "Trilu")


CASTS: Mapping[Any, list[Any]] = {
    TensorProto.FLOAT16: [0.0, 1.5, -2.0],
    TensorProto.BFLOAT16: [0.0, 1.5, -2.0],
    TensorProto.DOUBLE: [0.0, 1.5, -2.0],
    TensorProto.INT64: [0, 1, -2],
    TensorProto.INT32: [0, 1, -2],
    TensorProto.INT8: [0, 1, -2],
    TensorProto.BOOL: [False, True, True],
}


@pytest.mark.parametrize("kind", CASTS, ids=TensorProto.DataType.Name)
@pytest.mark.parametrize("like", [False, True])
def test_casts_reach_every_type_of_torch(kind: int, like: bool) -> None:
    ends = (("x", TensorProto.FLOAT), ("other", kind), ("y", kind))
    info = {name: onnx.helper.make_tensor_value_info(name, type_, [3]) for name, type_ in ends}
    node = (
        onnx.helper.make_node("CastLike", ["x", "other"], ["y"])
        if like
        else onnx.helper.make_node("Cast", ["x"], ["y"], to=kind)
    )
    graph = onnx.helper.make_graph([node], "g", [info[name] for name in node.input], [info["y"]])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    wanted = torch.tensor(CASTS[kind]).to(getattr(torch, TensorProto.DataType.Name(kind).lower()))
    inputs = [torch.tensor([0.0, 1.5, -2.0]), wanted][: len(node.input)]
    found = GraphModule(read_graph(model))(*inputs)
    assert found.dtype == wanted.dtype
    assert found.tolist() == CASTS[kind]


def test_a_cast_to_what_torch_has_not_is_refused_by_name() -> None:
    with refused("unsupported-model", "Cast (", "STRING"):
        GraphModule(read_graph(net("(float[n] x) => (string[n] y) { y = Cast<to = 8>(x) }")))
