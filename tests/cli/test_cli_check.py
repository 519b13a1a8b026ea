"""A file is what its plan makes of the original, or it is said what it is not."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import net
from places import CONVNET, RESNET
from program import Ended, call, few

import onnxprune

ARGS = ("--method", "l1", "--preprocess", "unit", "--macs", "50%")


def check(model: Path, *args: object, against: Path = RESNET) -> Ended:
    return call("check", model, "--against", against, *args)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pruned and recovered residual net, with its plan beside it."""
    output = tmp_path_factory.mktemp("small") / "small.onnx"
    assert call(RESNET, "--data", few(), *ARGS, "-o", output).code == 0
    return output


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    """Return a copy that may be changed."""
    shutil.copy(small.with_suffix(".plan.json"), tmp_path / "copy.plan.json")
    return Path(shutil.copy(small, tmp_path / "copy.onnx"))


def test_a_pruned_model_is_what_its_plan_says(small: Path) -> None:
    before = {path: path.read_bytes() for path in small.parent.iterdir()}
    ended = check(small, "--json")
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["verification"]["proof"] != "unproven"
    assert 0 < found["changed"] < found["tensors"] == len(onnx.load(small).graph.initializer)
    assert {path: path.read_bytes() for path in small.parent.iterdir()} == before
    assert "small.onnx is what small.plan.json makes of digits_resnet.onnx." in check(small, "--data", few()).stdout


@pytest.mark.parametrize(
    "more",
    [
        ("--recover", "none"),
        ("--steps", 2),
        ("--classes", "2,5,7", "--trim-head"),
        ("--branches", "only", "--force"),
    ],
)
def test_whatever_a_plan_does_is_checked(tmp_path: Path, more: tuple[object, ...]) -> None:
    output = tmp_path / "a.onnx"
    assert call(RESNET, "--data", few(), *ARGS, *more, "-o", output).code == 0
    ended = check(output, "--json")
    assert ended.code == 0, ended.stderr
    assert (json.loads(ended.stdout)["changed"] == 0) is (more[0] == "--recover")


def test_weights_in_data_files_are_read(tmp_path: Path) -> None:
    onnx.save(onnx.load(RESNET), tmp_path / "b.onnx", save_as_external_data=True, location="b.bin", size_threshold=0)
    output = tmp_path / "c.onnx"
    assert call(tmp_path / "b.onnx", "--data", few(), *ARGS, "-o", output).code == 0
    assert check(output, against=tmp_path / "b.onnx").code == 0
    moved = next(path for path in tmp_path.iterdir() if path.suffix not in {".onnx", ".json"} and path.name != "b.bin")
    moved.write_bytes(b"\xff" * moved.stat().st_size)
    ended = check(output, against=tmp_path / "b.onnx")
    assert (ended.code, "no numbers" in ended.sentence) == (3, True)


def changed(path: Path, how: str) -> None:
    """Change a model as somebody might."""
    model = onnx.load(path)
    graph = model.graph
    weight = next(tensor for tensor in graph.initializer if len(tensor.dims) == 4 and tensor.dims[0] > 1)
    value = onnx.numpy_helper.to_array(weight)
    node = next(node for node in graph.node if node.op_type == "Relu")
    if how == "weight":
        weight.CopyFrom(onnx.numpy_helper.from_array(value * np.float32(1.5), weight.name))
    elif how == "nan":
        weight.CopyFrom(onnx.numpy_helper.from_array(value * np.float32("nan"), weight.name))
    elif how == "op":
        node.op_type = "Sigmoid"
    elif how == "node":
        node.attribute.append(onnx.helper.make_attribute("consumed_inputs", [1]))
    elif how == "output":
        graph.output[0].type.tensor_type.shape.dim[1].dim_value += 1
    elif how == "extra":
        graph.node.append(onnx.helper.make_node("Relu", [graph.output[0].name], ["extra"]))
    elif how == "told":
        onnx.helper.set_model_props(model, {"mine": "yes"})
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("nan", "no numbers"),
        ("op", "among its nodes"),
        ("node", "among its nodes"),
        ("output", "among its outputs"),
        ("extra", "nodes where the cut has"),
    ],
)
def test_what_was_changed_is_named(copy: Path, how: str, said: str) -> None:
    changed(copy, how)
    ended = check(copy)
    assert (ended.code, said in ended.sentence) == (3, True), ended.stderr


def test_what_is_told_of_a_model_is_its_own(copy: Path) -> None:
    changed(copy, "told")
    assert check(copy).code == 0


def test_weights_that_no_recovery_gave_are_told(tmp_path: Path) -> None:
    output = tmp_path / "a.onnx"
    assert call(RESNET, "--data", few(), *ARGS, "--recover", "none", "-o", output).code == 0
    changed(output, "weight")
    ended = check(output)
    assert (ended.code, "has other values than the cut leaves" in ended.sentence) == (3, True)
    ended = check(output, "--trained", "--json")
    assert (ended.code, json.loads(ended.stdout)["changed"]) == (0, 1)


ODD = """(float[n, 3, 8, 8] x) => (float[n, 4] y)
    <float[16, 3, 3, 3] w, float[12, 16, 3, 3] v, float[12] b, float[4, 12] u,
     float low, float high, float factor, float[0] none, float[4] sizes> {
        c = Conv<pads = [1, 1, 1, 1]>(x, w)
        r = Clip(c, low, high)
        s = Resize<mode = "nearest">(r, none, sizes)
        t = Mul(s, factor)
        d = Conv<pads = [1, 1, 1, 1]>(t, v, b)
        e = Relu(d)
        g = GlobalAveragePool(e)
        f = Flatten(g)
        y = Gemm<transB = 1>(f, u)
    }"""


def odd(folder: Path, recover: str) -> tuple[Path, Path]:
    """Return a net with numbers that are no weights, and what pruning made of it."""
    model = net(ODD)
    numbers = {"low": 0.0, "high": 6.0, "none": [], "factor": 0.5, "sizes": [1.0, 1.0, 2.0, 2.0]}
    for name, value in numbers.items():
        given = onnx.numpy_helper.from_array(np.asarray(value, dtype=np.float32), name)
        found = [tensor for tensor in model.graph.initializer if tensor.name == name]
        (found[0] if found else model.graph.initializer.add()).CopyFrom(given)
    onnx.save(model, folder / "odd.onnx")
    np.savez(folder / "x.npz", x=np.random.default_rng(0).normal(size=(80, 3, 8, 8)).astype(np.float32))
    args = ("--data", folder / "x.npz", "--method", "l1", "--macs", "60%", "--recover", recover)
    ended = call(folder / "odd.onnx", *args, "-o", folder / "small.onnx")
    assert ended.code == 0, ended.stderr
    return folder / "odd.onnx", folder / "small.onnx"


@pytest.mark.parametrize("name", ["low", "high", "sizes", "factor"])
@pytest.mark.parametrize("recover", ["refit", "none"])
def test_numbers_that_are_no_weights_stay_as_they_are(tmp_path: Path, name: str, recover: str) -> None:
    """A bound, a size or a factor is nothing that recovery or training gives; a zero with a sign is another zero."""
    original, small = odd(tmp_path, recover)
    assert check(small, against=original).code == 0
    model = onnx.load(small)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    value = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(-value if name == "low" else value * np.float32(1.2), name))
    onnx.save(model, small)
    ended = check(small, *(["--trained"] if recover == "none" else []), against=original)
    assert (ended.code, f"'{name}' has other values" in ended.sentence) == (3, True), ended.stderr


def test_shapes_that_were_recorded_since_do_not_count(copy: Path) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(copy))
    model.producer_name, model.doc_string, model.graph.node[0].doc_string = "somebody", "mine", "first"
    onnx.save(model, copy)
    assert check(copy).code == 0


def test_another_original_or_plan_is_refused(small: Path, copy: Path, tmp_path: Path) -> None:
    ended = check(small, against=CONVNET)
    assert (ended.code, "made for another model" in ended.sentence) == (2, True)
    other = tmp_path / "other.onnx"
    assert call(RESNET, "--data", few(), *ARGS[:-1], "30%", "-o", other).code == 0
    ended = check(copy, "--plan", tmp_path / "other.plan.json")
    assert (ended.code, "among its weights" in ended.sentence) == (3, True)
    (tmp_path / "copy.plan.json").unlink()
    ended = check(copy)
    assert (ended.code, "No such plan" in ended.sentence) == (2, True)
    ended = check(tmp_path / "none.onnx")
    assert ended.code == 2


def test_it_is_a_function_as_well(small: Path, copy: Path) -> None:
    assert onnxprune.check(small, against=RESNET).changed > 0
    changed(copy, "op")
    with pytest.raises(onnxprune.errors.VerificationError, match="among its nodes"):
        onnxprune.check(copy, against=RESNET)
