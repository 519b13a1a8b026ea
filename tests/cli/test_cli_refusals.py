"""Whatever is wrong ends with the right exit code, one sentence that names it, and no file written."""

import json
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import net
from places import RESNET, SAMPLES
from program import Ended, call, prune, refused, save, save_images

from onnxprune.errors import Code
from onnxprune.importance.method import METHODS, Method, register
from onnxprune.pipeline.execution.recover import recover
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Scores, Statistics


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    """Where the model would go; afterwards nothing is there."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder / "small.onnx"
    assert list(folder.iterdir()) == []


def test_no_such_model(tmp_path: Path, output: Path) -> None:
    refused(prune(output, model=tmp_path / "gone" / "m.onnx"), "No such model", "m.onnx")


@pytest.mark.parametrize("content", [RESNET.read_bytes()[:5000], b"just a text\n" * 9, b""])
def test_no_model_at_all(tmp_path: Path, output: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    refused(prune(output, model=path), "bad.onnx", "export")


def test_no_data(output: Path) -> None:
    refused(call(RESNET, "-o", output), "--data")


def test_no_such_data(tmp_path: Path, output: Path) -> None:
    refused(prune(output, data=tmp_path / "gone"), "gone", "check the path")


def test_an_empty_folder(tmp_path: Path, output: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(prune(output, data=tmp_path / "empty"), "empty", "holds no images")


def test_a_class_folder_without_images(tmp_path: Path, output: Path) -> None:
    images = save_images(tmp_path / "images", 20, classes=10)
    (images / "c3" / "003.png").unlink()
    (images / "c3" / "013.png").unlink()
    refused(prune(output, data=images), "c3", "holds no images")


def test_pickled_objects(tmp_path: Path, output: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}], dtype=object))
    refused(prune(output, data=tmp_path / "x.npz"), "Python objects", "never loaded")


def test_images_of_another_size(tmp_path: Path, output: Path) -> None:
    images = save_images(tmp_path / "images", 10, size=(16, 16))
    refused(prune(output, data=images), "--resize", "16")
    assert prune(tmp_path / "a.onnx", "--macs", "50%", "--resize", "8,8", data=images).code == 0


def test_labels_out_of_range(tmp_path: Path, output: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (20, 8, 8), dtype=np.uint8), np.arange(20)
    np.savez(tmp_path / "x.npz", x=x, y=y)
    refused(prune(output, data=tmp_path / "x.npz"), "label 19", "0 to 9")


def test_an_unknown_method(output: Path) -> None:
    refused(prune(output, "--method", "magic"), "magic", "entropy", "random")


@pytest.mark.parametrize(
    "asking",
    [("--json",), ("--progress", "json"), ("--progress=json",), ("--json", "-q"), ("--json", "--progress", "json")],
)
@pytest.mark.parametrize(
    ("flags", "code", "thing"),
    [
        (("--method", "magic"), "unknown-name", "'magic'"),
        (("--macs", "lots"), "bad-value", "--macs"),
        (("--magic", "3"), "unknown-name", "--magic"),
        (("--macs",), "bad-usage", "--macs"),
        (("--params", "1%"), "over-budget", "1.0 % of the parameters"),
        (("--labels", "nowhere.txt"), "missing-file", "nowhere.txt"),
    ],
)
def test_an_error_for_programs_is_a_json_object_with_a_code(
    output: Path, asking: tuple[str, ...], flags: tuple[str, ...], code: Code, thing: str
) -> None:
    ended = prune(output, *asking, *flags)
    found = []
    if "--json" in asking:
        found.append(ended.error)
    else:
        assert ended.stdout == ""
    if any("json" in word and word != "--json" for word in asking):
        found.append(ended.error_event)
    else:
        assert thing in ended.sentence
    assert found
    assert all(error["code"] == code and thing in error["error"] for error in found)
    assert ended.code == (1 if code == "over-budget" else 2)


def test_what_has_no_class_of_its_own_has_a_code_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, code, status in (
        (KeyboardInterrupt(), "interrupted", 130),
        (MemoryError(), "out-of-memory", 70),
        (RuntimeError("so"), "unexpected", 70),
    ):

        def fails(value: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("onnxprune.report.methods.method_json", fails)
        ended = call("methods", "--json")
        assert (ended.error["code"], ended.code) == (code, status)
    assert call("apply", "--json").error["code"] == "missing-option"


def test_settings_that_the_method_does_not_have_or_take(output: Path) -> None:
    refused(prune(output, "--method", "random", "--variant", "gap"), "random", "variant")
    refused(prune(output, "--variant", "gap"), "reconstruction", "variant", "entropy")
    refused(prune(output, "--method", "entropy", "--option", "q=many"), "q=many", "number")
    refused(prune(output, "--method", "entropy", "--option", "depth=3"), "depth", "variant")
    refused(prune(output, "--option", "q"), "NAME=VALUE")
    refused(prune(output, "--method", "entropy", "--q", "50%"), "--vote")
    refused(prune(output, "--method", "entropy", "--vote"), "variant", "map or gap")


def test_a_multiple_of_a_threshold_takes_a_method_that_has_one(output: Path) -> None:
    ended = prune(output, "--alpha", "1.2")
    refused(ended, "--alpha", "reconstruction has none", "class-aware, entropy")
    assert "The original model" not in ended.stderr, "nothing is run before"


def test_without_data_methods_of_weights_alone_are_named(output: Path) -> None:
    refused(call(RESNET, "--macs", "50%", "-o", output), "--data", "--method l1")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--params", "1%"), "of the parameters cannot be met: with every group at its floor"),
        (("--size", "1500"), "of the file's size cannot be met"),
    ],
)
def test_a_budget_that_no_cut_reaches_is_refused_beside_what_is_least(
    output: Path, flags: tuple[str, ...], said: str
) -> None:
    ended = prune(output, *flags)
    assert ended.code == 1
    assert said in ended.sentence
    assert "The least that can be left: " in ended.stderr
    assert "Scores from" not in ended.stderr
    assert not output.exists()


@pytest.mark.parametrize("flags", [("--params", "lots"), ("--size", "2 miles"), ("--size", "150%")])
def test_a_budget_that_is_no_amount_is_a_usage_error(output: Path, flags: tuple[str, ...]) -> None:
    ended = prune(output, *flags)
    assert ended.code == 2
    assert "is no budget" in ended.stderr


def test_a_method_that_only_ranks_needs_a_budget(output: Path) -> None:
    refused(prune(output, "--method", "random", "--alpha", 1), "random", "--alpha", "leave it out")
    refused(call(RESNET, "--method", "random", "-o", output), "random", "--ratio", "--macs")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--macs", "150%"),
        ("--macs", "half"),
        ("--macs", "50"),
        ("--macs", "nan"),
        ("--macs", "0"),
        ("--ratio", "-0.1"),
        ("--ratio", "100%"),
        ("--holdout", "0"),
        ("--alpha", "-1"),
        ("--alpha", "nan"),
        ("--round-to", "0"),
        ("--mean", "a,b"),
        ("--std", "0"),
        ("--scale", "1/0"),
        ("--resize", "8,8,8"),
        ("--resize", "0"),
        ("--layout", "chw"),
        ("--preprocess", "magic"),
        ("--threads", "0"),
    ],
)
def test_values_that_cannot_be(output: Path, option: str, value: str) -> None:
    refused(prune(output, f"{option}={value}"), option)


def test_a_number_that_was_meant_as_a_percentage(output: Path) -> None:
    refused(prune(output, "--macs", "50"), "did you mean 50%?")


def test_numbers_beside_auto(output: Path) -> None:
    refused(prune(output, "--preprocess", "auto", "--mean", "0.5"), "auto", "--mean")


def test_unknown_options_and_commands(output: Path) -> None:
    refused(prune(output, "--mac", "50%"), "--mac")
    refused(call("inspct", RESNET), "inspct", "did you mean 'inspect'?")
    refused(call("inspect"), "MODEL", "onnxprune inspect --help")


def test_outputs_that_would_overwrite(tmp_path: Path, output: Path) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(RESNET.read_bytes())
    before = model.read_bytes()
    refused(prune(model, model=model), "overwrite the input model")
    refused(prune(output, "--plan", model, model=model), "plan would overwrite the input model")
    refused(prune(output, "--report", tmp_path / "x" / ".." / "net.onnx", model=model), "report would overwrite")
    refused(prune(output, "--plan", output, model=model), "plan", "both be written to")
    refused(prune(output, "--report", output.with_suffix(".plan.json"), model=model), "report", "both be written to")
    assert model.read_bytes() == before


def test_outputs_inside_the_data(tmp_path: Path, output: Path) -> None:
    images = save_images(tmp_path / "images", 10)
    refused(prune(output, "--report", images / "001.png", data=images), "overwrite", "001.png", "sample data")


def test_outputs_that_cannot_be_written(tmp_path: Path, output: Path) -> None:
    refused(prune(tmp_path, "--macs", "50%"), "folder")
    refused(prune(output, "--report", tmp_path / "gone" / "r.html"), "report", "gone")


def test_a_model_near_chance(output: Path) -> None:
    refused(prune(output, "--macs", "50%", "--scale", "1"), "--preprocess auto", "--no-accuracy-check")


def test_a_budget_that_cannot_be_met(output: Path) -> None:
    refused(prune(output, "--macs", "0.1%"), "cannot be met", "left", code=1)


def test_nothing_to_prune(output: Path) -> None:
    refused(prune(output, "--macs", "100%"), "Nothing was pruned", code=1)


def test_a_model_without_a_free_group(tmp_path: Path, output: Path) -> None:
    model = net("(float[N,1,8,8] x) => (float[N,3,8,8] y) <float[3,1,3,3] w> { y = Conv<pads=[1,1,1,1]>(x, w) }")
    images = save_images(tmp_path / "images", 5)
    refused(prune(output, "--macs", "50%", model=save(model, tmp_path / "n.onnx"), data=images), "inspect", code=1)


@pytest.fixture
def plan(tmp_path: Path) -> dict[str, Any]:
    assert prune(tmp_path / "x.onnx", "--macs", "50%", "--dry-run").code == 0
    found: dict[str, Any] = json.loads((tmp_path / "x.plan.json").read_text())
    return found


def replayed(plan: object, tmp_path: Path, output: Path, model: Path = RESNET) -> Ended:
    path = tmp_path / "changed.json"
    path.write_text(plan if isinstance(plan, str) else json.dumps(plan))
    return call("apply", model, path, "-o", output)


def test_plans_that_cannot_be_replayed(tmp_path: Path, output: Path, plan: dict[str, Any]) -> None:
    group = next(group for group in plan["groups"].values() if group["removed"])
    other = SAMPLES / "digits_convnet.onnx"
    refused(replayed(plan, tmp_path, output, other), "another model", "digits_convnet.onnx")
    stem, whole = next(iter(plan["groups"].items()))
    everything = {**plan["groups"], stem: {**whole, "removed": list(range(whole["size"]))}}
    refused(replayed({**plan, "groups": everything}, tmp_path, output), "no channel left", stem)
    unknown = {**plan["groups"], "no_such_group": group}
    refused(replayed({**plan, "groups": unknown}, tmp_path, output), "no_such_group", "does not exist")
    refused(replayed({**plan, "schema": 0}, tmp_path, output), "schema 0", "make the plan again")
    refused(replayed({"schema": 1}, tmp_path, output), "not a whole plan")
    refused(replayed("{", tmp_path, output), "not a plan")
    refused(call("apply", RESNET, tmp_path / "gone.json", "-o", output), "No such plan")
    refused(call("apply", RESNET, tmp_path / "x.plan.json", "-o", tmp_path / "x.plan.json"), "overwrite the plan")


def _backwards(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Keep what is silent, remove what is not."""
    return Scores({group.name: np.arange(group.size) / group.size for group in groups})


@pytest.fixture
def harm() -> Iterator[str]:
    """A method with a threshold of its own that removes half of all channels whatever they do."""
    assert len(METHODS) > 0, "the registry is filled before anything is added"
    register(Method("harm", "", "", "", lambda options: frozenset(), _backwards, threshold=0.7))
    yield "harm"
    METHODS._things.pop("harm")


def test_a_collapse_that_nobody_asked_for(tmp_path: Path, harm: str) -> None:
    ended = prune(tmp_path / "a.onnx", "--method", harm, "--recover", "none")
    assert ended.code == 0
    assert "Top-1 fell by" not in ended.stdout


def test_a_collapse_that_was_asked_for(tmp_path: Path, harm: str) -> None:
    by_rule = prune(tmp_path / "rule.onnx", "--method", harm, "--alpha", 1)
    assert by_rule.code == 0
    first, _, second = by_rule.stdout.splitlines()[:3]
    assert first.startswith("done, with ")
    assert second.startswith("Warning: Top-1 fell by")
    assert (tmp_path / "rule.onnx").exists()
    asked = prune(tmp_path / "asked.onnx", "--method", harm, "--macs", "5%", "--round-to", 1, "--recover", "none")
    assert asked.code == 0
    assert "\nWarning: Top-1 fell by" in asked.stdout
    assert "Classes that lost most" in asked.stdout


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("1,11", "has no class '11' for --classes"),
        ("1", "names only '1'"),
        ("1,4,1", "names '1' twice"),
        ("1,,4", "has an empty name"),
    ],
)
def test_classes_that_cannot_be_chosen(output: Path, names: str, said: str) -> None:
    refused(prune(output, "--classes", names, "--macs", "50%", "-q"), said)


def test_classes_of_data_without_labels(tmp_path: Path, output: Path) -> None:
    loose = save_images(tmp_path / "loose", 6)
    refused(prune(output, "--classes", "1,4", "--macs", "50%", "-q", data=loose), "--classes needs labelled data")


def test_a_head_cannot_be_trimmed_to_nothing_or_over_a_file_that_is_read(tmp_path: Path, output: Path) -> None:
    refused(prune(output, "--trim-head", "--macs", "50%", "-q"), "--trim-head cuts the classifier to the classes of")
    names = tmp_path / "n.labels.txt"
    names.write_text("\n".join("0123456789"))
    args = ("--classes", "1,4", "--trim-head", "--labels", names, "--macs", "50%", "-q")
    refused(prune(tmp_path / "n.onnx", *args), "The labels would overwrite the labels")
    assert names.read_text().endswith("9")


def test_a_class_that_loses_too_much(output: Path) -> None:
    args = ("--macs", "5%", "--recover", "none", "-q", "--max-class-drop", "5")
    refused(prune(output, *args), "Class '", "points, where --max-class-drop allows 5, so nothing was written", code=1)


def test_a_command_that_is_told_to_end_says_so_too(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("onnxprune.pipeline.prune.make_plan", told)
    ended = prune(output, "--json")
    assert (ended.error["code"], ended.code) == ("interrupted", 143)
    assert "nothing was written" in ended.sentence


def test_a_plan_that_is_not_there_is_asked_for_in_words_of_the_command_line(tmp_path: Path) -> None:
    refused(call("apply", RESNET, tmp_path / "none.json"), "none.json", "--dry-run")


def test_a_scratch_folder_that_vanishes(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = recover

    def gone(*args: Any) -> Any:
        for scratch in output.parent.glob(".onnxprune-*"):
            shutil.rmtree(scratch)
        return real(*args)

    monkeypatch.setattr("onnxprune.pipeline.prune.recover", gone)
    refused(
        prune(output, "--method", "l1", "--macs", "50%", "-q"), "a temporary file of this run", "nothing was written"
    )
