"""Patches times the matrix of the weight, and the bias, are the layer's output, for any attributes of any layer."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nets import Array, initial, net, run

from onnxprune.graph.model import read_graph
from onnxprune.linear.matrix import as_matrix, from_matrix
from onnxprune.linear.patches import patches, picked, sample_rows

small = st.integers(1, 3)


def check(model: onnx.ModelProto, x: Array, weight: Array, bias: Array | None, channels: int, per_sample: int) -> None:
    """Compare the output of the only node of `model` with its linear system at some rows."""
    node = read_graph(model).nodes[0]
    (output,) = run(model, {"x": x}, optimised=False)
    rows = sample_rows(output.shape, channels, per_sample, np.random.default_rng(0))
    space = tuple(size for axis, size in enumerate(output.shape) if axis not in (0, channels))
    assert len(rows.image) == len(output) * min(per_sample, int(np.prod(space)))
    assert len({(i, *at) for i, at in zip(rows.image, map(tuple, rows.at), strict=True)}) == len(rows.image)
    kernel = weight.shape[2:] if node.op in ("Conv", "ConvTranspose") else ()
    matrix = as_matrix(node, weight)
    seen = patches(node, x, kernel, rows, space)
    assert seen.shape == (len(rows.image), *matrix.shape[:2])
    product = np.einsum("rgi,gio->rgo", seen, matrix).reshape(len(rows.image), -1)
    expected = picked(output, channels, rows)
    assert product + (0 if bias is None else bias) == pytest.approx(expected, abs=1e-4)
    assert from_matrix(node, matrix, weight.shape).tolist() == weight.tolist()


def ints(numbers: list[int]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


@settings(max_examples=60)
@given(data=st.data(), rank=st.integers(1, 3), transposed=st.booleans())
def test_convolutions_of_any_shape(data: st.DataObject, rank: int, transposed: bool) -> None:
    def each(strategy: st.SearchStrategy[int]) -> list[int]:
        return [data.draw(strategy) for _ in range(rank)]

    groups, inside, outside = data.draw(small), data.draw(small), data.draw(small)
    kernel, strides, dilations = each(small), each(small), each(st.integers(1, 2))
    size = each(st.integers(3, 7))
    attributes = [f"group = {groups}", f"strides = {ints(strides)}", f"dilations = {ints(dilations)}"]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [data.draw(st.integers(0, r - 1)) for _ in range(2) for r in reach]
    mode = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if mode == "NOTSET":
        attributes.append(f"pads = {ints(pads)}")
        added = [a + b for a, b in zip(pads[:rank], pads[rank:], strict=True)]
    else:
        attributes.append(f'auto_pad = "{mode}"')
        added = [0] * rank
        if mode.startswith("SAME"):
            assume(dilations == [1] * rank)  # onnxruntime refuses dilated SAME in places
    if transposed:
        assume(all((n - 1) * s + r > a for n, s, r, a in zip(size, strides, reach, added, strict=True)))
        op, shape = "ConvTranspose", [groups * inside, outside, *kernel]
        # With SAME the output is the input times the stride, which a kernel shorter than the stride cannot fill.
        assume(not mode.startswith("SAME") or all(r >= s for r, s in zip(reach, strides, strict=True)))
    else:
        assume(all(n + a >= r for n, a, r in zip(size, added, reach, strict=True)))
        op, shape = "Conv", [groups * outside, inside, *kernel]
    free = ", ".join("abc"[:rank])
    model = net(
        f"(float[2, {groups * inside}, {', '.join(map(str, size))}] x) => (float[2, {groups * outside}, {free}] y) "
        f"<float{ints(shape)} w, float[{groups * outside}] b> {{ y = {op}<{', '.join(attributes)}>(x, w, b) }}"
    )
    x = np.random.default_rng(0).normal(size=(2, groups * inside, *size)).astype(np.float32)
    check(model, x, initial(model, "w"), initial(model, "b"), 1, data.draw(st.integers(1, 40)))


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_in_both_layouts(transposed: int) -> None:
    shape = "[5, 4]" if transposed else "[4, 5]"
    model = net(
        f"(float[3, 4] x) => (float[3, 5] y) <float{shape} w, float[5] b> "
        f"{{ y = Gemm<transB = {transposed}>(x, w, b) }}"
    )
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    check(model, x, initial(model, "w"), initial(model, "b"), 1, 7)


@pytest.mark.parametrize("shape", [(3, 4), (3, 6, 4), (3, 2, 6, 4)])
def test_products_over_the_last_axis(shape: tuple[int, ...]) -> None:
    dims, out = ", ".join(map(str, shape)), ", ".join(map(str, (*shape[:-1], 5)))
    model = net(f"(float[{dims}] x) => (float[{out}] y) <float[4, 5] w> {{ y = MatMul(x, w) }}")
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    check(model, x, initial(model, "w"), None, len(shape) - 1, 5)


def test_sampled_rows_follow_the_seed_and_reach_every_place() -> None:
    rows = sample_rows((400, 2, 3, 3), 1, 2, np.random.default_rng(1))
    assert rows.image.tolist() == [i for i in range(400) for _ in range(2)]
    found: Any = np.bincount(np.ravel_multi_index(tuple(rows.at.T), (3, 3)), minlength=9)
    assert found.min() > 50
    again = sample_rows((400, 2, 3, 3), 1, 2, np.random.default_rng(1))
    assert rows.at.tolist() == again.at.tolist()
