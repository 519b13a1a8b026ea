"""Two models side by side, and conditions that refuse a result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import CLASSIFIER, net, run
from places import CALIB, CONVNET, RESNET, TEST
from program import Ended, call, few, save_images

import onnxprune


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the convolutional sample model, pruned far enough to lose something."""
    output = tmp_path_factory.mktemp("small") / "small.onnx"
    args = ("--macs", "1%", "--min-keep", "1%", "--recover", "none", "--method", "l1", "--preprocess", "unit")
    assert call(CONVNET, "--data", few(), *args, "--force", "-o", output).code == 0
    return output


def compare(*args: object, data: Path = TEST) -> Ended:
    return call("compare", *args, "--data", data, "--preprocess", "unit")


def top1(model: Path) -> float:
    """Return top-1 in percent on the test images, without the project."""
    from PIL import Image

    paths = sorted(TEST.glob("*/*.png"))
    images = np.stack([np.asarray(Image.open(path), dtype=np.float32) / 255 for path in paths])
    images = images.reshape(len(paths), 1, *images.shape[1:3])
    name = onnx.load(model).graph.input[0].name
    scores = run(onnx.load(model), {name: images})[0]
    return float(100 * (scores.argmax(axis=1) == [int(path.parent.name) for path in paths]).mean())


def test_size_speed_and_accuracy_of_both_are_measured(small: Path, tmp_path: Path) -> None:
    page, summary = tmp_path / "page.html", tmp_path / "summary.md"
    ended = compare(CONVNET, small, "--json", "--report", page, "--markdown", summary)
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["before"]["size"] == CONVNET.stat().st_size
    assert found["after"]["size"] == small.stat().st_size
    assert found["measures"]["macs_ratio"] <= 0.01
    assert found["measures"]["top1_before"] == pytest.approx(top1(CONVNET))
    assert found["measures"]["top1_after"] == pytest.approx(top1(small))
    assert found["measures"]["top1_drop"] == pytest.approx(top1(CONVNET) - top1(small))
    assert found["measures"]["top1_drop_upper"] > found["measures"]["top1_drop"] > 5
    assert found["quality"]["samples"] == len(list(TEST.glob("*/*.png")))
    assert found["agreement"] < 1 - found["measures"]["top1_drop"] / 100 + 0.02
    assert found["before"]["latency_ms"] > 0 < found["after"]["single_ms"]
    assert "<table" in page.read_text()
    text = summary.read_text()
    assert text.startswith("## small.onnx beside digits\\_convnet.onnx\n\n|  | first | second | ratio |\n")
    assert "### Top-1 by class" in text


def test_a_model_is_its_own_equal() -> None:
    ended = compare(CONVNET, CONVNET, "--json", data=few())
    found = json.loads(ended.stdout)
    assert found["agreement"] == 1
    assert found["ops"] == []
    assert set(found["drift"].values()) == {0}
    ratios = {name: found["measures"][name] for name in ("macs_ratio", "params_ratio", "size_ratio", "top1_drop")}
    assert ratios == {"macs_ratio": 1, "params_ratio": 1, "size_ratio": 1, "top1_drop": 0}


def test_models_of_another_make_are_compared_and_their_nodes_listed() -> None:
    ended = compare(CONVNET, RESNET, "-v", data=few())
    assert ended.code == 0, ended.stderr
    assert "Nodes that differ" in ended.stdout
    assert "Both give the same class to" in ended.stdout


def test_other_names_are_matched_by_their_order(tmp_path: Path) -> None:
    model = onnx.load(CONVNET)
    old, new = model.graph.input[0].name, model.graph.output[0].name
    text = model.SerializeToString()
    other = onnx.ModelProto.FromString(text)
    for node in other.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = {old: "pixels", new: "scores"}.get(name, name)
    other.graph.input[0].name, other.graph.output[0].name = "pixels", "scores"
    onnx.save(other, tmp_path / "other.onnx")
    ended = compare(CONVNET, tmp_path / "other.onnx", "--json", data=few())
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["agreement"], set(found["drift"].values())) == (1, {0})
    assert "matched by their order" in found["notes"][-1]
    assert found["after"]["params"] == found["before"]["params"]
    other.graph.node[0].output[0] = other.graph.node[1].input[0] = old
    onnx.save(other, tmp_path / "taken.onnx")
    ended = compare(CONVNET, tmp_path / "taken.onnx", data=few())
    assert (ended.code, f"uses {old!r} for something else" in ended.sentence) == (2, True)


def test_outputs_alone_are_compared_without_labels(small: Path, tmp_path: Path) -> None:
    flat = save_images(tmp_path / "data", 6)
    images = tmp_path / "flat"
    images.mkdir()
    for number, path in enumerate(sorted(flat.rglob("*.png"))):
        path.rename(images / f"{number}.png")
    ended = compare(CONVNET, small, "--json", data=images)
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert "top1_drop" not in found["measures"]
    assert found["measures"]["output_change"] > 0
    ended = compare(CONVNET, small, "--fail-if", "top1_drop > 1", data=images)
    assert (ended.code, "top1_drop was not measured here" in ended.sentence) == (1, True)


def test_a_trimmed_model_is_compared_on_its_classes(tmp_path: Path) -> None:
    trimmed = tmp_path / "trimmed.onnx"
    args = ("--classes", "2,5,7", "--trim-head", "--macs", "60%", "--preprocess", "unit", "-o", trimmed)
    assert call(CONVNET, "--data", CALIB, *args).code == 0
    ended = compare(CONVNET, trimmed, "--json")
    assert ended.code == 0, ended.stderr
    quality = json.loads(ended.stdout)["quality"]
    assert quality["among"] == ["2", "5", "7"]
    assert quality["samples"] == sum(len(list((TEST / name).glob("*"))) for name in "257")
    turned = compare(trimmed, CONVNET)
    assert (turned.code, "tells only 2, 5, 7 apart" in turned.sentence) == (2, True)


def test_classes_that_a_model_lost_are_not_compared(tmp_path: Path) -> None:
    for name, classes in (("a", "2,5,7"), ("b", "1,3,4")):
        args = ("--classes", classes, "--trim-head", "--ratio", "50%", "--recover", "none", "--method", "l1")
        output = tmp_path / f"{name}.onnx"
        assert call(CONVNET, "--data", few(), *args, "--preprocess", "unit", "-o", output).code == 0
    ended = compare(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert (ended.code, "only 2, 5, 7 apart" in ended.sentence, "only 1, 3, 4" in ended.sentence) == (2, True, True)
    ended = compare(CONVNET, tmp_path / "a.onnx", "--classes", "1,3,4")
    assert (ended.code, "leave --classes out" in ended.sentence) == (2, True)
    assert compare(tmp_path / "a.onnx", tmp_path / "a.onnx", data=few()).code == 0


def dense(path: Path, width: int, *, batch: int | str = "n", name: str = "y") -> Path:
    """Write a net of one layer with so many outputs, whose first weights are those of all others."""
    rng = np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(rng.normal(size=(8, 9)).astype(np.float32)[:, :width], "w")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], [name])],
        "dense",
        [value("x", onnx.TensorProto.FLOAT, [batch, 8])],
        [value(name, onnx.TensorProto.FLOAT, [batch, width])],
        [weight],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def samples(path: Path, **more: Any) -> Path:
    np.savez(path, x=np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32), **more)
    return path


def test_what_cannot_be_compared_has_no_measure(tmp_path: Path) -> None:
    five, seven = dense(tmp_path / "five.onnx", 5), dense(tmp_path / "seven.onnx", 7)
    plain = samples(tmp_path / "x.npz")
    ended = call("compare", five, seven, "--data", plain, "--json")
    found = json.loads(ended.stdout)
    assert "y" in found["not_compared"]
    assert not {"output_change", "output_change_upper"} & found["measures"].keys()
    ended = call("compare", five, seven, "--data", plain, "--fail-if", "output_change > 0.5")
    assert (ended.code, "was not measured here" in ended.sentence) == (1, True)
    labelled = samples(tmp_path / "xy.npz", y=np.arange(40) % 5)
    ended = call("compare", five, five, "--data", labelled, "--no-accuracy-check")
    assert ended.code == 0, ended.stderr
    scores = np.load(plain)["x"] @ onnx.numpy_helper.to_array(onnx.load(five).graph.initializer[0])
    labelled = samples(tmp_path / "xy.npz", y=scores.argmax(axis=1))
    ended = call("compare", five, seven, "--data", labelled)
    assert (ended.code, "tells 5 classes apart and the second 7" in ended.sentence) == (2, True)


@pytest.mark.parametrize(("one", "two"), [("n", 1), (1, "n"), (1, 4), (4, 1)])
def test_models_of_other_batches_are_fed_alike(tmp_path: Path, one: int | str, two: int | str) -> None:
    first, second = dense(tmp_path / "a.onnx", 5, batch=one), dense(tmp_path / "b.onnx", 5, batch=two, name="z")
    ended = call("compare", first, second, "--data", samples(tmp_path / "x.npz"), "--json")
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["measures"]["output_change"] < 1e-6
    assert ("latency_ratio" in found["measures"] or found["speedup"] is not None) is (4 not in (one, two))


def test_nothing_is_written_where_a_condition_holds(small: Path, tmp_path: Path) -> None:
    args = ("--markdown", tmp_path / "a.md", "--report", tmp_path / "a.html", "--fail-if")
    ended = compare(CONVNET, small, *args, "macs_ratio < 0.5", data=few())
    assert (ended.code, "macs_ratio is 0.0" in ended.sentence) == (1, True)
    assert not list(tmp_path.iterdir())
    assert compare(CONVNET, small, *args, "macs_ratio >= 0.5", data=few()).code == 0
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("top_drop > 1", "did you mean 'top1_drop'?"),
        ("top1_drop", "no condition"),
        ("top1_drop == 1", "no condition"),
        ("__import__('os') > 1", "no condition"),
        ("top1_drop > nan", "no condition"),
        ("top1_drop > 1e999", "no condition"),
        ("top1_drop > \u0661", "no condition"),
    ],
)
def test_what_is_no_condition_is_refused(small: Path, text: str, said: str) -> None:
    ended = compare(CONVNET, small, "--fail-if", text)
    assert ended.code == 2
    assert said in ended.sentence


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--report", "OTHER"), "would overwrite"),
        (("--markdown", "IMAGE"), "part of"),
        (("--classes", "2,99"), "needs labelled data"),
    ],
)
def test_what_is_read_is_not_written(small: Path, tmp_path: Path, more: tuple[str, str], said: str) -> None:
    data = save_images(tmp_path / "data", 4)
    value = more[1].replace("OTHER", str(small)).replace("IMAGE", str(next(data.rglob("*.png"))))
    before = small.read_bytes()
    ended = compare(CONVNET, small, more[0], value, data=data)
    assert ended.code == 2
    assert said in ended.sentence
    assert small.read_bytes() == before


def test_models_that_take_another_number_of_inputs_are_refused(tmp_path: Path) -> None:
    one, two = net(CLASSIFIER), net(CLASSIFIER.replace("x) =>", "x, float[n, 4] z) =>").replace("y = Gemm", "q = Gemm"))
    two.graph.node.append(onnx.helper.make_node("Add", ["q", "z"], ["y"]))
    onnx.save(one, tmp_path / "one.onnx")
    onnx.save(two, tmp_path / "two.onnx")
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 3, 8, 8), np.float32))
    ended = call("compare", tmp_path / "one.onnx", tmp_path / "two.onnx", "--data", tmp_path / "data.npz")
    assert (ended.code, "takes 2 input(s) and the first model 1" in ended.sentence) == (2, True)


def test_it_is_a_function_as_well(small: Path) -> None:
    found = onnxprune.compare(CONVNET, other=small, data=few(), preprocess="unit")
    assert found.measures["macs_ratio"] <= 0.01
    with pytest.raises(onnxprune.errors.UnreachableError, match=r"fail_if='macs_ratio < 0.5' holds"):
        onnxprune.compare(CONVNET, other=small, data=few(), preprocess="unit", fail_if="macs_ratio < 0.5")


def prune(output: Path, *args: object) -> Ended:
    return call(CONVNET, "--data", few(), "--method", "l1", "--preprocess", "unit", "-o", output, *args)


def test_pruning_fails_by_a_condition_before_anything_is_written(tmp_path: Path) -> None:
    args: tuple[Any, ...] = ("--macs", "50%", "--recover", "none", "--markdown", tmp_path / "a.md")
    ended = prune(tmp_path / "a.onnx", *args, "--fail-if", "macs_ratio < 0.6")
    assert (ended.code, ended.sentence.startswith("--fail-if 'macs_ratio < 0.6' holds")) == (1, True)
    assert not list(tmp_path.iterdir())
    ended = prune(tmp_path / "a.onnx", *args, "--fail-if", "macs_ratio > 0.6", "--json")
    assert ended.code == 0, ended.stderr
    assert json.loads(ended.stdout)["measures"]["macs_ratio"] <= 0.5
    assert (tmp_path / "a.md").read_text().startswith("## digits\\_convnet.onnx, pruned by l1\n")
    plan = tmp_path / "a.plan.json"
    ended = call("apply", CONVNET, plan, "-o", tmp_path / "b.onnx", "--fail-if", "size_ratio < 1")
    assert (ended.code, (tmp_path / "b.onnx").exists()) == (1, False)
    ended = prune(tmp_path / "c.onnx", *args[:2], "--dry-run", "--fail-if", "macs_ratio > 0.6")
    assert (ended.code, "--dry-run makes none" in ended.sentence) == (2, True)
