"""Free sizes that the graph does not leave free: searched for, given, or taken from the data."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import analysed, assert_cut_equals_mask, group_sizes, net
from refusals import refused

import onnxprune
from onnxprune.analysis.inspect import inspect
from onnxprune.graph.loaded import Model, load, with_shapes
from onnxprune.graph.model import read_graph
from onnxprune.pipeline.apply import apply_plan
from onnxprune.pipeline.config.jobs import PruneConfig

RECOGNISER = """(float[N, 3, H, W] x) => (float[N, T, 10] y)
    <float[16, 3, 3, 3] w0, int64[1] axis = {2}, float[32, 16, 3, 3] w1, float[32, 10] w2> {
        a = Conv<strides = [4, 2], pads = [1, 1, 1, 1]>(x, w0)
        b = Relu(a)
        p = AveragePool<kernel_shape = [12, 1], strides = [12, 1]>(b)
        s = Squeeze(p, axis)
        u = Unsqueeze(s, axis)
        c = Conv<pads = [1, 1, 1, 1]>(u, w1)
        d = Relu(c)
        e = Squeeze(d, axis)
        t = Transpose<perm = [0, 2, 1]>(e)
        y = MatMul(t, w2)
    }"""
"""Reads lines of height 48, as text recognisers do, and of any length."""


def loaded(folder: Path) -> Model:
    path = folder / "lines.onnx"
    onnx.save(net(RECOGNISER), path)
    return load(path)


def test_sizes_that_the_graph_takes_are_searched_for(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    assert group_sizes(model.proto) == [16, 32]
    assert model.graph.facts.fixed == {"x": (None, 3, 48, None)}
    assert any("x of n x 3 x 48 x n; give others with --input-shape" in note for note in model.notes)
    assert_cut_equals_mask(model.proto, free={"N": 2, "H": 48, "W": 100})


def test_costs_are_for_the_sizes_that_are_given(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    wide, narrow = (inspect(with_shapes(model, {"x": (1, 3, 48, width)})).macs() for width in (640, 320))
    assert wide == pytest.approx(2 * narrow)
    assert not any("searched for" in note for note in with_shapes(model, {"x": (1, 3, 48, 320)}).notes)


def test_sizes_that_are_free_stay_free(tmp_path: Path) -> None:
    """A size that is given is the nominal one alone, where the graph takes others too."""
    model = with_shapes(loaded(tmp_path), {"x": (1, 3, 48, 320)})
    assert not model.graph.facts.is_fixed("x", 3)
    assert model.graph.facts.is_fixed("x", 2)
    assert model.graph.facts.shapes[0]["x"] == (1, 3, 48, 320)


def test_networks_that_halve_their_maps_keep_free_sizes() -> None:
    """Twice a size is divided by what divides it: 224 is a multiple of 32, one and a half of it is not."""
    names = ["x", *(f"d{level}" for level in range(5))]
    down = "Conv<strides = [2, 2], pads = [1, 1, 1, 1]>"
    lines = [f"d{level} = {down}({names[level]}, w{level})" for level in range(5)]
    up = 'r = Resize<mode = "nearest">(d4, , scales)'
    weights = ", ".join(f"float[8, {3 if level == 0 else 8}, 3, 3] w{level}" for level in range(5))
    model = net(f"""(float[n, 3, h, w] x) => (float[n, 4, a, b] y)
        <{weights}, float[4] scales = {{1, 1, 2, 2}}, float[4, 16, 1, 1] v> {{
            {" ".join(lines)} {up}
            k = Concat<axis = 1>(r, d3)
            y = Conv(k, v)
        }}""")
    facts = read_graph(model, sizes={"x": (1, 3, 224, 224)}).facts
    assert not facts.conflicts
    assert not facts.fixed
    assert facts.shapes[0]["y"] == (1, 4, 14, 14)


@pytest.mark.parametrize(
    ("shapes", "things"),
    [
        ({"z": (1, 3, 48, 320)}, ("no input 'z'", "x")),
        ({"x": (1, 4, 48, 320)}, ("n x 3 x n x n", "1 x 4 x 48 x 320")),
        ({"x": (1, 3, 48)}, ("n x 3 x n x n", "1 x 3 x 48")),
    ],
)
def test_shapes_of_other_inputs_are_refused(
    shapes: dict[str, tuple[int, ...]], things: tuple[str, ...], tmp_path: Path
) -> None:
    model = loaded(tmp_path)
    with refused("unknown-name" if "z" in shapes else "data-mismatch", *things):
        with_shapes(model, shapes)


def test_sizes_of_the_data_are_recorded_and_replayed(tmp_path: Path) -> None:
    path = loaded(tmp_path).path
    x = np.random.default_rng(0).normal(size=(12, 3, 48, 160)).astype(np.float32)
    np.savez(tmp_path / "lines.npz", x=x)
    result = onnxprune.prune(path, tmp_path / "lines.npz", macs=0.6, output=tmp_path / "small.onnx", force=True)
    assert result.plan.request["input_shape"] == {"x": [1, 3, 48, 160]}
    assert result.output is not None
    again = apply_plan(PruneConfig(path, output=tmp_path / "again.onnx"), result.plan)
    assert again.plan.groups == result.plan.groups


def test_a_graph_that_no_size_suits_is_read_as_far_as_it_goes() -> None:
    model = net("""(float[N, 3, H, W] x) => (float[N, 4, h, w] y)
        <float[8, 3, 1, 1] w0, int64[1] one = {1}, float[4, 8, 1, 1] w2> {
            c = Conv(x, w0)
            wrong = Squeeze(c, one)
            y = Conv(c, w2)
        }""")
    assert read_graph(model).facts.conflicts
    assert "wrong" not in analysed(model).graph.facts.shapes[0]


def test_sizes_that_are_written_as_no_size_are_free() -> None:
    """Paddle's exporter writes -1 for a free batch."""
    model = net("""(float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) <float[8, 3, 1, 1] w0, float[4, 8, 1, 1] w1> {
            c = Conv(x, w0)
            y = Conv(c, w1)
        }""")
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [1, 8, 8, 8]))
    for value in (model.graph.input[0], model.graph.output[0], model.graph.value_info[0]):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    analysis = analysed(model)
    assert analysis.macs() == 64 * (8 * 3 + 4 * 8)
    assert analysis.graph.input_specs[0].shape == (None, 3, 8, 8)
    checked = assert_cut_equals_mask(model, feed={"x": np.ones((3, 3, 8, 8), np.float32)})
    assert [dim.dim_value for dim in checked.model.graph.value_info[0].type.tensor_type.shape.dim] == [-1, 4, 8, 8]


PACKED = """(float[N, S, 20] x) => (float[N, S, 5] y)
    <float[20, 32] w0, float[32, 96] w1, float[32, 32] w2, float[32, 5] w3,
     int64[4] apart = {0, 0, 3, 32}, int64[1] length = {6}, int64[1] width = {8}, int64[1] heads = {4},
     int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64[1] at = {0}, int64[1] behind = {1},
     int64[2] flat = {-1, 32}, int64[1] all = {32}, float[1] scale = {0.35}> {
        e = MatMul(x, w0)
        t = Transpose<perm = [1, 0, 2]>(e)
        p = MatMul(t, w1)
        parts = Reshape(p, apart)
        first = Transpose<perm = [2, 0, 1, 3]>(parts)
        q = Gather(first, zero)
        k = Gather(first, one)
        v = Gather(first, two)
        shape = Shape(x)
        n = Gather(shape, at)
        s = Gather(shape, behind)
        nh = Mul(n, heads)
        to_q = Concat<axis = 0>(s, nh, width)
        to_k = Concat<axis = 0>(length, nh, width)
        q1 = Reshape(q, to_q)
        k1 = Reshape(k, to_k)
        v1 = Reshape(v, to_k)
        q2 = Transpose<perm = [1, 0, 2]>(q1)
        k2 = Transpose<perm = [1, 2, 0]>(k1)
        v2 = Transpose<perm = [1, 0, 2]>(v1)
        a = MatMul(q2, k2)
        b = Mul(a, scale)
        c = Softmax<axis = -1>(b)
        d = MatMul(c, v2)
        f = Transpose<perm = [1, 0, 2]>(d)
        g = Reshape(f, flat)
        h = MatMul(g, w2)
        to_out = Concat<axis = 0>(s, n, all)
        i = Reshape(h, to_out)
        j = Transpose<perm = [1, 0, 2]>(i)
        y = MatMul(j, w3)
    }"""
"""nn.MultiheadAttention of the TorchScript exporter: one weight of queries, keys and values, of sequences that have the
length of the example although the file leaves it free."""


def test_a_length_that_only_a_reshape_names_is_found() -> None:
    model = net(PACKED)
    assert read_graph(model).facts.fixed == {"x": (None, 6, 20)}
    assert group_sizes(model) == [8, 32, 32]
    assert_cut_equals_mask(model, free={"N": 3, "S": 6})
