"""Shapes recorded in the file: right after the cut, and no authority before it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import analysed, assert_cut_equals_mask, group_sizes, net, random_feed, random_keep, run, save_samples

import onnxprune
from onnxprune.surgery.cut import cut
from onnxprune.surgery.mask import masked_model

TEXT = """(float[n, 3, 6, 6] x) => (float[n, 4, 3, 3] y)
    <float[8, 3, 3, 3] w0, float[6, 8, 1, 1] w1, float[4, 14, 1, 1] w2> {
        c = Conv<pads = [1, 1, 1, 1]>(x, w0)
        p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)
        d = Conv(p, w1)
        k = Concat<axis = 1>(p, d)
        y = Conv(k, w2)
    }"""


def recorded(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    return {
        info.name: [dim.dim_value or dim.dim_param for dim in info.type.tensor_type.shape.dim]
        for info in model.graph.value_info
    }


def record(model: onnx.ModelProto, shapes: dict[str, list[int | str | None]], kind: int = 1) -> onnx.ModelProto:
    for name, dims in shapes.items():
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, dims))
    return model


def test_onnxscript_2278_recorded_shapes_are_right_after_the_cut() -> None:
    """The old shapes stayed in the file, and whoever trusted them failed on the new graph."""
    model = onnx.shape_inference.infer_shapes(net(TEXT))
    checked = assert_cut_equals_mask(model)
    found = recorded(checked.model)
    assert found == {
        "c": ["n", 4, 6, 6], "p": ["n", 4, 3, 3], "d": ["n", 3, 3, 3], "k": ["n", 7, 3, 3],
    }  # fmt: skip
    bare = onnx.ModelProto()
    bare.CopyFrom(checked.model)
    bare.graph.ClearField("value_info")
    assert recorded(onnx.shape_inference.infer_shapes(bare)) == found


@pytest.mark.parametrize("wrong", [{"c": ["n", 5, 6, 6]}, {"c": ["n", 8, 7, 6], "k": ["n", 9, 3, 3]}, {"p": ["n", 8]}])
def test_onnxscript_2278_wrong_recorded_shapes_do_not_mislead_the_cut(wrong: dict[str, list[int | str | None]]) -> None:
    """Another tool left shapes from before its own edit; the widths come from the weights, not from there.

    onnx's strict check refuses such a file itself, so what is checked is the cut of the same net, shape for shape.
    """
    honest = net(TEXT)
    model = record(net(TEXT), wrong)
    assert group_sizes(model) == group_sizes(honest) == [6, 8]
    analysis = analysed(model)
    keep = random_keep(analysis)
    slim = cut(analysis, keep).model
    expected = assert_cut_equals_mask(honest, keep)
    assert slim.graph.initializer == expected.model.graph.initializer
    assert slim.graph.node == expected.model.graph.node
    slim.graph.ClearField("value_info")
    masked = masked_model(analysed(honest), analysed(honest).axis_masks(keep))
    feed = random_feed(honest)
    np.testing.assert_allclose(run(slim, feed)[0], run(masked, feed)[0], rtol=1e-3, atol=1e-5)


def test_onnxscript_2278_a_recorded_width_that_a_shape_computation_reads_is_the_real_one() -> None:
    """A reshape computed from Shape follows the tensor, whatever the file says about it."""
    text = """(float[n, 3, 4, 4] x) => (float[n, 4] y)
        <float[8, 3, 1, 1] w0, int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}, float[128, 4] w1> {
            c = Conv(x, w0)
            s = Shape(c)
            b = Slice(s, zero, one)
            t = Concat<axis = 0>(b, rest)
            f = Reshape(c, t)
            y = MatMul(f, w1)
        }"""
    honest, model = net(text), record(net(text), {"c": ["n", 6, 4, 4]})
    assert group_sizes(model) == group_sizes(honest) == [8]
    keep = random_keep(analysed(model))
    expected = assert_cut_equals_mask(honest, keep)
    assert expected.shape("w1") == (64, 4)
    assert cut(analysed(model), keep).model.graph.initializer == expected.model.graph.initializer


def pruned_from_file(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Prune from file to file, and return what was written."""
    onnx.save(model, folder / "net.onnx")
    save_samples(folder / "data.npz", 8, 3, 6, 6)
    onnxprune.prune(folder / "net.onnx", folder / "data.npz", "random", ratio=0.5, output=folder / "small.onnx")
    onnx.checker.check_model(str(folder / "small.onnx"), full_check=True)
    return onnx.load(folder / "small.onnx")


def test_onnxscript_2278_a_wrong_width_in_the_file_is_right_in_the_written_one(tmp_path: Path) -> None:
    """The width that the cut sets is the new one, not the wrong one less what went."""
    assert recorded(pruned_from_file(record(net(TEXT), {"c": ["n", 5, 6, 6]}), tmp_path)) == {"c": ["n", 4, 6, 6]}


@pytest.mark.parametrize("wrong", [{"c": ["n", 8, 7, 6]}, {"p": ["n", 8]}])
def test_onnxscript_2278_a_wrong_shape_that_was_there_before_does_not_fail_the_run(
    wrong: dict[str, list[int | str | None]], tmp_path: Path
) -> None:
    """onnxruntime runs such a file with a warning; blaming the cut for it helps nobody."""
    slim = pruned_from_file(record(net(TEXT), wrong), tmp_path)
    assert recorded(slim) in ({}, {"c": ["n", 4, 6, 6]}, {"p": ["n", 4, 3, 3]})
