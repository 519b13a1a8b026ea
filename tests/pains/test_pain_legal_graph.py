"""What comes out is a legal graph, with everything in it that came in."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import assert_cut_equals_mask, group_sizes, net

import onnxprune

# An optional input left out in the middle, outputs and a constant that nobody reads, a branch without weights.
TEXT = """(float[n, 3, h, 6] x, float[n, 4, h, 6] other) => (float[n, 4, h, 6] y, float[n, 4, h, 6] z)
    <float[8, 3, 1, 1] w0, float[8] b0, float[4, 8, 1, 1] w1, float low = {0}, float high = {6}, float[5] unused> {
        [stem] c = Conv(x, w0, b0)
        [clip] k = Clip(c, , high)
        [drop] d, mask = Dropout(k)
        [lone] e = Dropout(d)
        [head] y = Conv(e, w1)
        [copy] z = Add(other, other)
    }"""


def decorated() -> onnx.ModelProto:
    model = net(TEXT)
    model.opset_import.add(domain="com.example", version=3)
    model.producer_name, model.producer_version, model.model_version = "somebody", "1.0", 5
    model.metadata_props.add(key="labels", value="cat,dog")
    model.graph.doc_string = "a graph"
    for node in model.graph.node:
        node.doc_string = f"line {node.name}"
    return model


def everything_but_dims(model: onnx.ModelProto) -> tuple[object, ...]:
    graph = model.graph
    return (
        model.ir_version,
        [(o.domain, o.version) for o in model.opset_import],
        [(p.key, p.value) for p in model.metadata_props if not p.key.startswith("onnxprune.")],
        (model.producer_name, model.producer_version, model.model_version, graph.name, graph.doc_string),
        [(n.name, n.op_type, n.doc_string, list(n.input), list(n.output), str(n.attribute)) for n in graph.node],
        [value.SerializeToString() for value in (*graph.input, *graph.output)],
        [(t.name, t.data_type) for t in graph.initializer],
    )


def test_tensorrt_3079_the_cut_graph_is_legal_and_keeps_everything() -> None:
    """Load and store alone made an illegal graph: opsets doubled, optional inputs and unused tensors gone."""
    model = decorated()
    assert group_sizes(model) == [8]
    slim = assert_cut_equals_mask(model, free={"h": 6}).model
    assert everything_but_dims(slim) == everything_but_dims(model)
    assert list(next(n for n in slim.graph.node if n.name == "clip").input) == ["c", "", "high"]


@pytest.mark.parametrize("ir", [7, 8, 9, 10])
def test_tensorrt_3079_the_written_file_is_legal_too(ir: int, tmp_path: Path) -> None:
    """From file to file, for every age of the format: the full checker has nothing to say."""
    model = decorated()
    model.ir_version = ir
    onnx.save(model, tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=(8, width, 6, 6)).astype(np.float32) for name, width in (("x", 3), ("other", 4))}
    np.savez(tmp_path / "data.npz", **feeds)  # type: ignore[arg-type]
    onnxprune.prune(tmp_path / "net.onnx", tmp_path / "data.npz", "random", ratio=0.5, output=tmp_path / "small.onnx")
    onnx.checker.check_model(str(tmp_path / "small.onnx"), full_check=True)
    assert everything_but_dims(onnx.load(tmp_path / "small.onnx")) == everything_but_dims(model)
