"""The whole job on models whose weights lie outside: the same cut, the same layout, nobody else's file touched."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from folders import contents
from large import LAYOUTS, NAMES, Layout, files, mixed, model, nodes, one_file, outside, packed, pages
from nets import save_samples
from program import call
from refusals import refused

import onnxprune
from onnxprune.errors import VerificationError
from onnxprune.graph.storage import load as loading
from onnxprune.graph.storage import protobuf as wire
from onnxprune.graph.storage.load import load_model
from onnxprune.graph.storage.staging import Staging
from onnxprune.graph.storage.weights import is_external, stored_tensors
from onnxprune.pipeline.execution import cut as cutting
from onnxprune.recovery import run as recovering
from onnxprune.values.results import Result


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_samples(tmp_path_factory.mktemp("data") / "data.npz", 16, 1, 8, 8)


def prune(path: Path, data: Path, output: Path, **more: Any) -> Result:
    output.parent.mkdir(exist_ok=True)
    return onnxprune.prune(path, data, "random", ratio=0.5, round_to=1, output=output, **more)


def placed(path: Path) -> dict[str, tuple[str, int] | None]:
    """Return where each tensor of a file lies, None for inside."""
    found: dict[str, tuple[str, int] | None] = {}
    for tensor in stored_tensors(onnx.load(path, load_external_data=False)):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        found[tensor.name] = (entries["location"], int(entries.get("offset", 0))) if is_external(tensor) else None
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_is_cut_like_the_same_one_with_its_weights_inside(layout: Layout, data: Path, tmp_path: Path) -> None:
    path = layout(tmp_path / "in")
    before = contents(path.parent)
    whole = tmp_path / "net.onnx"
    whole.write_bytes(load_model(path).SerializeToString(deterministic=True))
    expected = prune(whole, data, tmp_path / "whole" / "net.onnx")
    result = prune(path, data, tmp_path / "out" / "net.onnx")
    assert contents(path.parent) == before
    assert result.equality is not None
    assert (result.equality.status, result.equality.where) == ("equal", "outputs")
    assert result.plan.digest == expected.plan.digest
    slim = load_model(tmp_path / "out" / "net.onnx")
    assert slim == load_model(tmp_path / "whole" / "net.onnx")
    onnx.checker.check_model(str(tmp_path / "out" / "net.onnx"), full_check=True)
    session = ort.InferenceSession(str(tmp_path / "out" / "net.onnx"), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.zeros((3, 1, 8, 8), np.float32)})[0].shape == (3, 4)
    # the same layout: every tensor in its file, in the same order, aligned at least as it was
    was, now = placed(path), placed(tmp_path / "out" / "net.onnx")
    assert {name: place and place[0] for name, place in was.items()} == {n: p and p[0] for n, p in now.items()}
    for location in {place[0] for place in was.values() if place}:
        offsets = {name: place[1] for name, place in was.items() if place and place[0] == location}
        new = {name: place[1] for name, place in now.items() if place and place[0] == location}
        assert sorted(new, key=lambda name: new[name]) == sorted(offsets, key=lambda name: offsets[name])
        assert all(new[name] % (offset & -offset) == 0 for name, offset in offsets.items() if offset)
    assert result.after is not None
    sizes = [sum(len(c) for n, c in files.items() if "plan" not in n) for files in (before, contents(tmp_path / "out"))]
    assert [result.before.size, result.after.size] == sizes


@pytest.mark.parametrize("layout", [one_file, nodes, mixed])
def test_a_plan_replays_to_the_same_bytes(layout: Layout, data: Path, tmp_path: Path) -> None:
    path = layout(tmp_path / "in")
    prune(path, data, tmp_path / "out" / "net.onnx")
    (tmp_path / "again").mkdir()
    plan = tmp_path / "out" / "net.plan.json"
    again = tmp_path / "again" / "net.onnx"
    assert call("apply", path, plan, "--data", data, "-o", again, "-q").code == 0
    plan.unlink()
    assert contents(tmp_path / "again") == contents(tmp_path / "out")
    for name, explained in (("inspect", []), ("inspect", ["--explain", "w0:0"])):
        assert call(name, path, *explained).code == 0


def test_a_copy_of_a_shared_tensor_goes_where_its_origin_is(data: Path, tmp_path: Path) -> None:
    whole = model()
    whole.graph.node[0].input[2] = "w2"  # a bias of 16 that the net below needs in two ways
    whole.graph.node.insert(1, onnx.helper.make_node("Conv", ["x", "w0", "w2"], ["c2"], pads=[1] * 4))
    whole.graph.node.insert(2, onnx.helper.make_node("Relu", ["c2"], ["side"]))
    whole.graph.node.append(onnx.helper.make_node("ReduceMean", ["side"], ["z"], axes=[2, 3], keepdims=0))
    whole.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, ["n", 16]))
    path = outside(whole, tmp_path / "in", packed(whole, NAMES))
    result = prune(path, data, tmp_path / "out" / "net.onnx")
    assert set(result.plan.copies.values()) == {"w0", "w2"}
    now = placed(tmp_path / "out" / "net.onnx")
    assert {now[name][0] for name in (*result.plan.copies, *NAMES) if now[name]} == {"weights.bin"}  # type: ignore[index]
    prune_inside = prune(_inside(path), data, tmp_path / "whole" / "net.onnx")
    assert load_model(tmp_path / "out" / "net.onnx") == load_model(prune_inside.output or "")


def _inside(path: Path) -> Path:
    whole = path.with_name("whole.onnx")
    whole.write_bytes(load_model(path).SerializeToString(deterministic=True))
    return whole


def test_large_files_are_pruned_to_the_same_bytes_as_small_ones(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model().SerializeToString())
    prune(path, data, tmp_path / "small" / "net.onnx", recovery="none")
    monkeypatch.setattr(loading, "MAPPED_FROM", 0)
    monkeypatch.setattr(wire, "HEAVY_BYTES", 32)
    sources = _record_sources(monkeypatch)
    prune(path, data, tmp_path / "large" / "net.onnx", recovery="none")
    assert contents(tmp_path / "large") == contents(tmp_path / "small")
    assert sources
    assert max(sources) < 10_000, "a session was opened with the weights in memory"


def _record_sources(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which every session adds the bytes that it was opened from."""
    sources: list[int] = []
    whole = ort.InferenceSession

    def opened(source: bytes, *args: Any, **more: Any) -> Any:
        sources.append(len(source))
        return whole(source, *args, **more)

    monkeypatch.setattr(ort, "InferenceSession", opened)
    return sources


@pytest.mark.parametrize("method", ["random", "entropy"])
def test_no_session_is_opened_with_weights_in_memory(
    method: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes models above the limit of protobuf work: only what refers to weights is ever serialized."""
    path = one_file(tmp_path / "in")
    monkeypatch.setattr(recovering, "HEAVIEST", 1 << 14)
    sources = _record_sources(monkeypatch)
    output = tmp_path / "net.onnx"
    result = onnxprune.prune(path, data, method, ratio=0.5, output=output)
    assert result.equality is not None
    assert any("Nothing was recovered" in note and "stay in their files" in note for note in result.notes)
    assert len(sources) > 6
    assert max(sources) < 10_000  # 33 kB of weights; a mask takes 8


def test_a_check_without_power_is_made_again_on_perturbed_weights(data: Path, tmp_path: Path) -> None:
    whole = model()
    for tensor in whole.graph.initializer:
        if tensor.name in ("w1", "w3"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(list(tensor.dims), np.float32), tensor.name))
    path = outside(whole, tmp_path / "in", packed(whole, NAMES, align=4096))
    result = prune(path, data, tmp_path / "out" / "net.onnx")
    assert result.equality is not None
    assert (result.equality.status, result.equality.where) == ("equal", "perturbed weights")
    assert sorted(contents(tmp_path / "out")) == ["net.onnx", "net.plan.json", "weights.bin"]


def test_stages_work_one_by_one(tmp_path: Path) -> None:
    loaded = onnxprune.load(pages(tmp_path / "in"))
    analysis = onnxprune.inspect(loaded)
    scores = onnxprune.score(analysis, onnxprune.collect(analysis, None, "random"), "random")
    plan = onnxprune.plan(loaded, analysis, scores, onnxprune.Budget(ratio=0.5), "random")
    cut, plan = onnxprune.apply(loaded, analysis, plan)
    assert onnxprune.verify(loaded, analysis, cut, None).status == "equal"
    (tmp_path / "out").mkdir()
    onnxprune.save(cut, tmp_path / "out" / "slim.onnx")
    assert sorted(contents(tmp_path / "out")) == ["slim.onnx", "weights.bin"]
    again = onnxprune.load(tmp_path / "out" / "slim.onnx")
    assert onnxprune.inspect(again).macs() == analysis.macs(plan.keep())


# ---- names of data files ----


def test_beside_the_input_data_files_are_named_after_the_output(data: Path, tmp_path: Path) -> None:
    path = one_file(tmp_path)
    before = contents(tmp_path)
    for _ in range(2):  # the second run replaces the files of the first
        prune(path, data, tmp_path / "slim.onnx")
        after = contents(tmp_path)
        assert after.keys() - before.keys() == {"slim.onnx", "slim.plan.json", "slim.onnx.data"}
        assert before.items() <= after.items()
    assert {place[0] for place in placed(tmp_path / "slim.onnx").values() if place} == {"slim.onnx.data"}


def test_several_data_files_beside_the_input_keep_their_names_as_endings(data: Path, tmp_path: Path) -> None:
    path = mixed(tmp_path)
    prune(path, data, tmp_path / "slim.onnx")
    new = {"slim.onnx", "slim.plan.json", "slim.onnx.a.bin", "slim.onnx.b.bin"}
    assert contents(tmp_path).keys() == {"net.onnx", "a.bin", "b.bin", *new}


@pytest.mark.parametrize("owner", ["nobody", "another model", "both", "a broken model"])
def test_a_file_of_somebody_else_is_never_replaced(owner: str, data: Path, tmp_path: Path) -> None:
    path = one_file(tmp_path / "in")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"precious")
    if owner != "nobody":
        one_file(folder)
    if owner == "both":
        (folder / "slim.onnx").write_bytes((folder / "net.onnx").read_bytes())
    if owner == "a broken model":
        (folder / "slim.onnx").write_bytes((folder / "net.onnx").read_bytes())
        (folder / "net.onnx").write_bytes(b"not a model, as far as one can see")
    before = contents(folder)
    before.pop("slim.onnx", None)
    prune(path, data, folder / "slim.onnx")
    after = contents(folder)
    assert before.items() <= after.items()
    assert "slim.onnx.data" in after


def test_a_model_that_is_replaced_takes_its_own_data_file_along(data: Path, tmp_path: Path) -> None:
    path = one_file(tmp_path / "in")
    old = one_file(tmp_path / "out")
    prune(path, data, old)
    assert contents(tmp_path / "out").keys() == {"net.onnx", "net.plan.json", "weights.bin"}
    assert load_model(old) != load_model(path)


def test_data_files_do_not_take_the_names_of_other_outputs(data: Path, tmp_path: Path) -> None:
    path = outside(model(), tmp_path / "in", packed(model(), NAMES, "slim.plan.json"))
    prune(path, data, tmp_path / "out" / "slim.onnx")
    assert contents(tmp_path / "out").keys() == {"slim.onnx", "slim.plan.json", "slim.onnx.data"}
    assert onnxprune.load_plan(tmp_path / "out" / "slim.plan.json").removed


# ---- refusals and failures ----


def test_the_inputs_data_file_is_refused_as_output(data: Path, tmp_path: Path) -> None:
    path = files(tmp_path)
    before = contents(tmp_path)
    for name in ("w1.bin", "data/b0"):
        for options in (["-o", tmp_path / name], ["-o", tmp_path / "x.onnx", "--plan", tmp_path / name]):
            ended = call(path, "--data", data, "--method", "random", "--ratio", "0.5", *options)
            assert ended.code == 2
            assert "would overwrite the model's data file" in ended.sentence
    with refused("would-overwrite", "'w1.bin'"):
        prune(path, data, tmp_path / "w1.bin")
    assert contents(tmp_path) == before


def test_the_report_is_written_with_the_model_or_not_at_all(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one_file(tmp_path / "in")
    for folder in ("out", "report"):
        (tmp_path / folder).mkdir()
    (tmp_path / "report" / "r.html").write_text("old")
    (tmp_path / "out" / "weights.bin").write_bytes(b"old")
    before = contents(tmp_path)
    arguments = (path, "--data", data, "--method", "random", "--ratio", "0.5", "-o", tmp_path / "out" / "net.onnx")
    whole = Staging._put

    def fail(staging: Staging, file: Path, target: Path) -> None:
        if target.name == "net.onnx":
            raise OSError(28, "No space left on device")
        whole(staging, file, target)

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "_put", fail)
        ended = call(*arguments, "--report", tmp_path / "report" / "r.html")
    assert ended.code == 2
    assert "No space left on device" in ended.sentence
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.glob("*/.*")] == []
    assert call(*arguments, "--report", tmp_path / "report" / "r.html").code == 0
    assert (tmp_path / "report" / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert contents(tmp_path / "out").keys() == {"net.onnx", "net.plan.json", "net.onnx.data", "weights.bin"}


def test_after_a_failed_check_no_file_is_left(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = one_file(tmp_path / "in")
    (tmp_path / "out").mkdir()

    def fail(*_: object, **__: object) -> None:
        raise VerificationError("no", "cut-differs")

    monkeypatch.setattr(cutting, "check_structure", fail)
    with refused("cut-differs"):
        prune(path, data, tmp_path / "out" / "net.onnx")
    assert list((tmp_path / "out").iterdir()) == []
