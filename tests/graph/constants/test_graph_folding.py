"""Values known before the model runs: what onnxruntime computes, with where they came from."""

import numpy as np
import onnx
import pytest
from nets import Array, analysed, assert_cut_equals_mask, group_sizes, net, run

from onnxprune.graph.constants.folding import MAX_CONSTANT, Known, fold
from onnxprune.graph.model import Graph, read_graph

# Each line computes `z` from the constants declared below.
OPS = """
z = Identity(a)
z = Concat<axis = 0>(a, b)
z = Concat<axis = -1>(m, m)
z = Gather(a, i)
z = Gather(a, neg)
z = Gather<axis = 1>(m, i)
z = Slice(a, one, three)
z = Slice(m, one, three, axis1)
z = Slice(a, neg, far, zero1, neg)
z = Squeeze(row)
z = Squeeze(row, zero1)
z = Unsqueeze(a, zero_two)
z = Reshape(m, shape)
z = Reshape(m, keep)
z = Flatten<axis = 0>(m)
z = Flatten(m)
z = Transpose(m)
z = Transpose<perm = [1, 0]>(m)
z = Expand(a, expand)
z = Tile(m, two_one)
z = Cast<to = 1>(a)
z = Cast<to = 7>(f)
z = Div(a, b)
z = Div(nega, b)
z = Div(f, g)
z = Mod(a, b)
z = Mod(nega, b)
z = Mod<fmod = 1>(f, g)
z = ConstantOfShape(shape2)
z = ConstantOfShape<value = int64[1] {7}>(shape2)
z = Range(s0, s9, s2)
z = Size(m)
z = Shape(m)
z = Shape<start = 1>(m)
z = Shape<start = -2, end = -1>(m)
z = Pow(a, b)
z = Pow(f, two)
z = Add(a, b)
z = Sub(a, b)
z = Mul(a, m)
z = Neg(a)
z = Abs(nega)
z = Floor(f)
z = Ceil(f)
z = Round(f)
z = Sqrt(g)
z = Exp(f)
z = Log(g)
z = Reciprocal(g)
z = Equal(a, b)
z = Greater(a, b)
z = GreaterOrEqual(a, b)
z = Less(a, b)
z = LessOrEqual(a, b)
z = And(t, u)
z = Or(t, u)
z = Not(t)
z = Where(t, a, b)
z = Max(f, g)
z = Min(f, g, f)
z = Sum(f, g, g)
z = Clip(f, low, high)
z = Clip(f, , high)
z = Clip(f)
z = ReduceProd(a)
z = ReduceProd<axes = [1], keepdims = 0>(m)
z = ReduceSum(m, axis1)
z = ReduceSum<keepdims = 0>(m)
z = ReduceMax<axes = [0], keepdims = 0>(m)
z = ReduceMin<axes = [-1]>(m)
""".strip().splitlines()

CONSTANTS: dict[str, Array] = {
    "a": np.array([7, 2, 9, 4]), "b": np.array([2, 3, 4, 4]), "nega": np.array([-7, 5, -9, 0]),
    "m": np.arange(12).reshape(3, 4) - 5, "row": np.array([[1, 2]]), "i": np.array([2, 0]), "neg": np.array([-1]),
    "one": np.array([1]), "three": np.array([3]), "axis1": np.array([1]), "far": np.array([-9999]),
    "zero1": np.array([0]), "zero_two": np.array([0, 2]), "shape": np.array([2, -1]), "keep": np.array([0, 2, -1]),
    "expand": np.array([3, 1, 4]), "two_one": np.array([2, 1]), "shape2": np.array([2, 3]),
    "s0": np.array(0), "s9": np.array(9), "s2": np.array(2),
    "f": np.array([-1.5, 0.5, 2.5, -3.25], np.float32), "g": np.array([2.0, 0.25, 4.0, 1.5], np.float32),
    "two": np.array(2.0, np.float32), "low": np.array(-1.0, np.float32), "high": np.array(1.0, np.float32),
    "t": np.array([True, False, True, False]), "u": np.array([True, True, False, False]),
}  # fmt: skip


def folding_net(line: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[1] x) => (float[1] y) {{ {line} y = Relu(x) }}'
    )
    used = set(model.graph.node[0].input)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used
    )
    return model


@pytest.mark.parametrize("line", OPS)
def test_values_are_those_of_the_runtime(line: str) -> None:
    model = folding_net(line)
    known = read_graph(model).facts.known["z"]
    model.graph.output.append(onnx.ValueInfoProto(name="z"))
    expected = run(model, {"x": np.ones(1, np.float32)})[1]
    assert known.is_constant
    np.testing.assert_allclose(known.first, expected, rtol=1e-6)
    assert known.first.dtype == expected.dtype
    assert known.first.shape == expected.shape


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("z = Constant<value_int = 3>()", np.array(3)),
        ("z = Constant<value_ints = [3, 4]>()", np.array([3, 4])),
        ("z = Constant<value_float = 1.5>()", np.array(1.5, np.float32)),
        ("z = Constant<value_floats = [1.5, 2.0]>()", np.array([1.5, 2], np.float32)),
        ("z = Constant<value = int64[2] {5, 6}>()", np.array([5, 6])),
    ],
)
def test_constant_nodes_have_their_values(line: str, expected: Array) -> None:
    known = read_graph(folding_net(line)).facts.known["z"]
    np.testing.assert_array_equal(known.first, expected)
    assert known.first.dtype == expected.dtype


@pytest.mark.parametrize(
    "line",
    ['z = Constant<value_string = "text">()', "z = RandomUniformLike(f)", "z = Gather(a, a)", "z = Reshape(a, shape2)"],
)
def test_what_is_not_size_arithmetic_or_cannot_be_computed_stays_unknown(line: str) -> None:
    assert "z" not in read_graph(folding_net(line)).facts.known


def test_any_other_op_on_constants_alone_is_computed_by_the_reference_implementation() -> None:
    known = read_graph(folding_net("z = Relu(f)")).facts.known["z"]
    assert known.is_constant
    np.testing.assert_array_equal(known.first, np.maximum(CONSTANTS["f"], 0))


def folded(text: str, *values: Array, elements: int | None = None) -> tuple[Known, ...] | None:
    node = onnx.parser.parse_node(text)
    return fold(node, 17, [Known(value, value) for value in values], elements)


def test_huge_values_stay_with_the_runtime() -> None:
    big = np.zeros(MAX_CONSTANT + 1, np.int8)
    assert folded("z = Add(a, b)", big, big) is None
    assert folded("z = ConstantOfShape(a)", np.array([MAX_CONSTANT, 2]), elements=2 * MAX_CONSTANT) is None
    # Constants may be moved whatever their size: a big weight that is transposed is still a weight.
    moved = folded("z = Identity(a)", big)
    assert moved is not None
    assert moved[0].first is big


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("z = ConstantOfShape(large)", "z"),
        ("z = Expand(f, large)", "z"),
        ("z = Tile(m, large)", "z"),
        ("z = Range(s0, s_far, s_one)", "z"),
        ("c = Reshape(v, column) r = Reshape(v, row_shape) z = Add(c, r)", "z"),
        ("c = Reshape(v, column) r = Reshape(v, row_shape) p = MatMul(c, r) z = Expand(p, large)", "z"),
        ("z = Pad(f, pads)", "z"),
        ("z = ConvTranspose<strides = [4096]>(conv, kernel)", "z"),
    ],
)
def test_a_small_file_takes_no_large_memory(lines: str, name: str) -> None:
    far = 1 << 40
    values = {
        "large": np.array([1 << 20, 1 << 20]), "s0": np.array(0), "s_far": np.array(far), "s_one": np.array(1),
        "f": np.ones(1, np.float32), "m": np.ones((1, 1), np.float32), "v": np.ones(1 << 13, np.float32),
        "column": np.array([-1, 1]), "row_shape": np.array([1, -1]), "pads": np.array([far, far]),
        "conv": np.ones((1, 1, 8192), np.float32), "kernel": np.ones((1, 1, 9), np.float32),
    }  # fmt: skip
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[1] x) => (float[1] y) {{ {lines} y = Relu(x) }}'
    )
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, name) for name, v in values.items() if name in used)
    assert name not in read_graph(model).facts.known


def test_many_values_of_a_small_file_take_no_large_memory() -> None:
    lines = "\n".join(f"z{number} = ConstantOfShape<value = float[1] {{1.0}}>(s)" for number in range(200))
    graph = read_graph(net(f"(float[1] x) => (float[1] y) <int64[1] s = {{4194304}}> {{ {lines} y = Relu(x) }}"))
    made = [known.first.nbytes for name, known in graph.facts.known.items() if name.startswith("z")]
    assert 1 < len(made) < 200
    assert sum(made) < 400e6


def test_integers_are_divided_as_integers() -> None:
    large = np.array([9007199254740993, -7])
    found = folded("z = Div(a, b)", large, np.array([1, 2]))
    assert found is not None
    assert found[0].first.tolist() == [9007199254740993, -3]


def test_sums_over_no_axes_may_mean_none() -> None:
    """As `noop_with_empty_axes` says; a width computed by it is a width."""
    model = net(
        """(float[1, 3, 4, 4] x) => (float[1, 4] y)
        <float[8, 3, 1, 1] w, int64[2] tail = {2, 3}, int64[2] at = {0, 1}, float[8, 4] v> {
            c = Conv(x, w)
            p = ReduceMean(c, tail)
            s = Shape(c)
            g = Gather(s, at)
            n = ReduceSum<noop_with_empty_axes = 1>(g)
            f = Reshape(p, n)
            y = MatMul(f, v)
        }""",
        opset=18,
    )
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def sources(graph: Graph, name: str) -> list[list[tuple[str, int]]]:
    known = graph.facts.known[name]
    assert known.sources is not None
    return [sorted(found) for found in known.sources.ravel()]


def shape_graph(lines: str) -> Graph:
    return read_graph(
        net(f"""(float[n, 3, 5, 6] x) => (float[n, 3, 5, 6] y)
        <int64[1] i0 = {{0}}, int64[1] i1 = {{1}}, int64[2] i12 = {{1, 2}}, int64[1] k = {{7}}, int64[1] three = {{3}},
         int64 s0 = {{0}}, int64 s1 = {{1}}, int64[2] two_two = {{2, 2}}> {{
            s = Shape(x)
            {lines}
            y = Relu(x)
        }}""")
    )


def test_each_number_of_a_shape_knows_its_axis() -> None:
    graph = shape_graph("t = Shape<start = 1, end = -1>(x)")
    assert sources(graph, "s") == [[("x", 0)], [("x", 1)], [("x", 2)], [("x", 3)]]
    assert sources(graph, "t") == [[("x", 1)], [("x", 2)]]
    np.testing.assert_array_equal(graph.facts.known["s"].first, [1, 3, 5, 6])
    np.testing.assert_array_equal(graph.facts.known["s"].second, [2, 3, 5, 6])
    np.testing.assert_array_equal(graph.facts.known["s"].fixed, [False, True, True, True])
    assert not graph.facts.known["s"].is_constant


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("z = Gather(s, i12)", [[("x", 1)], [("x", 2)]]),
        ("z = Gather(s, s1)", [[("x", 1)]]),
        ("z = Slice(s, i1, three)", [[("x", 1)], [("x", 2)]]),
        ("g = Gather(s, i1) z = Concat<axis = 0>(k, g)", [[], [("x", 1)]]),
        ("g = Gather(s, i12) z = Add(g, k)", [[("x", 1)], [("x", 2)]]),
        ("g = Gather(s, i1) h = Gather(s, i12) z = Mul(g, h)", [[("x", 1)], [("x", 1), ("x", 2)]]),
        ("g = Gather(s, i12) z = ReduceProd<keepdims = 0>(g)", [[("x", 1), ("x", 2)]]),
        ("z = Size(x)", [[("x", 0), ("x", 1), ("x", 2), ("x", 3)]]),
        ("g = Gather(s, i1) z = ConstantOfShape(g)", [[("x", 1)]] * 3),
        ("g = Gather(s, i12) h = Unsqueeze(g, i0) z = Squeeze(h)", [[("x", 1)], [("x", 2)]]),
        ("a, z = Split<axis = 0>(s, two_two)", [[("x", 2)], [("x", 3)]]),
        ("z = CumSum(s, s0)", [[("x", 0), ("x", 1), ("x", 2), ("x", 3)]] * 4),
        ("z = Reshape(s, two_two)", [[("x", 0)], [("x", 1)], [("x", 2)], [("x", 3)]]),
    ],
)
def test_sources_follow_moves_and_merge_in_arithmetic(lines: str, expected: list[list[tuple[str, int]]]) -> None:
    assert sources(shape_graph(lines), "z") == expected


def test_a_value_whose_shape_depends_on_a_free_size_is_unknown() -> None:
    graph = shape_graph("g = Gather(s, i0) z = ConstantOfShape(g)")
    assert "z" not in graph.facts.known
    assert graph.facts.shape_pair("z") == ((1,), (2,))


def test_shapes_of_constants_are_constants() -> None:
    known = shape_graph("z = Shape(two_two)").facts.known["z"]
    assert known.is_constant
    assert known.first.tolist() == [2]


def test_a_shape_that_cannot_be_inferred_is_unknown() -> None:
    analysis = analysed(
        net(
            """(float[n, 3] x) => (float[n, 3] y) { c = my.Op(x) s = Shape(c) y = Reshape(x, s) }""",
            domains={"my": 1},
        )
    )
    assert "s" not in analysis.graph.facts.known
