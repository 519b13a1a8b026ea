"""A model whose data files are replaced, by processes that are killed at every step of it."""

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from folders import names
from nets import Array, net
from refusals import refused

from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.paths import data_names
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.staging import Staging
from onnxprune.graph.storage.standing_in import Copies, stand_in

TEXT = "(float[n, 64] x) => (float[n, 64] y) <float[64, 64] w> { y = MatMul(x, w) }"


def model(value: float) -> onnx.ModelProto:
    made = net(TEXT)
    made.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full((64, 64), value, np.float32), "w"))
    return made


def source(folder: Path, value: float) -> Path:
    """Write a model with a data file."""
    folder.mkdir()
    path = folder / "net.onnx"
    onnx.save(model(value), path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def put(path: Path, output: Path) -> None:
    """Put a model with its data file in the place of another."""
    stored = open_model(path)
    with Staging() as staging:
        chosen = data_names(*stored, output)
        write_model(*stored, staging.folder(output) / output.name, chosen)
        staging.commit(last=output, kept=bool(chosen))


def weights(path: Path) -> Array:
    return onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])


def killed(path: Path, output: Path, call: int) -> bool:
    """Put a model in a process that is killed in front of the `call`-th change of a name; whether it was."""
    child = os.fork()
    if child == 0:
        left = [call]
        for owner, name in ((Path, "replace"), (Path, "hardlink_to"), (Path, "unlink"), (shutil, "copyfile")):
            change = getattr(owner, name)

            def counted(*given: object, change: object = change, **more: object) -> object:
                left[0] -= 1
                if not left[0]:
                    os._exit(9)
                assert callable(change)
                return change(*given, **more)

            setattr(owner, name, counted)
        put(path, output)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_at_any_step_there_is_a_model_with_its_own_weights(tmp_path: Path) -> None:
    older, newer = source(tmp_path / "a", 1.0), source(tmp_path / "b", 2.0)
    output = tmp_path / "out" / "net.onnx"
    output.parent.mkdir()
    put(older, output)
    assert names(output.parent) == ["net.data", "net.onnx"]
    seen = set()
    for call in range(1, 40):
        was = killed(newer, output, call)
        seen.add(float(weights(output)[0, 0]))
        assert len(np.unique(weights(output))) == 1
        if not was:
            break
        if call % 2:  # the next run may be killed too
            killed(newer, output, call + 1)
            assert len(np.unique(weights(output))) == 1
        put(older, output)
        assert names(output.parent) == ["net.data", "net.onnx"]
        assert weights(output)[0, 0] == 1.0
    assert call > 6
    assert seen == {1.0, 2.0}


def test_what_cannot_be_put_in_place_leaves_the_older_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, newer = source(tmp_path / "a", 1.0), source(tmp_path / "b", 2.0)
    output = tmp_path / "out" / "net.onnx"
    output.parent.mkdir()
    put(older, output)
    content = output.read_bytes()
    before = Staging._put

    def full(self: Staging, file: Path, target: Path) -> None:
        if target == output:
            raise OSError(28, "No space left on device")
        before(self, file, target)

    monkeypatch.setattr(Staging, "_put", full)
    with refused("not-writable", "No space"):
        put(newer, output)
    assert names(output.parent) == ["net.data", "net.onnx"]
    assert output.read_bytes() == content
    assert weights(output)[0, 0] == 1.0


def test_without_space_for_copies_the_older_model_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, newer = source(tmp_path / "a", 1.0), source(tmp_path / "b", 2.0)
    output = tmp_path / "out" / "net.onnx"
    output.parent.mkdir()
    put(older, output)

    def unsupported(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", unsupported)
    put(newer, output)
    assert names(output.parent) == ["net.data", "net.onnx"]
    assert weights(output)[0, 0] == 2.0


def test_a_model_that_reads_nothing_that_goes_stays_as_it_is(tmp_path: Path) -> None:
    path = source(tmp_path / "a", 1.0)
    assert stand_in(path, [tmp_path / "a" / "other.data"], tmp_path / "copy") == Copies()
    assert not (tmp_path / "copy").exists()
    (tmp_path / "text").write_text("no model")
    assert stand_in(tmp_path / "text", [tmp_path / "a" / "net.data"], tmp_path / "copy") is None


def test_what_was_made_of_a_model_that_stands_in_keeps_its_data(tmp_path: Path) -> None:
    """Its data file does not keep the name of a copy, and if it has such a name it is not taken for a copy."""
    (tmp_path / "a").mkdir()
    path, output = tmp_path / "a" / "net.onnx", tmp_path / "b" / "net.onnx"
    place = ".onnxprune-older-net.data"
    onnx.save(model(1.0), path, save_as_external_data=True, location=place, size_threshold=0)
    output.parent.mkdir()
    for _ in range(2):
        put(path, output)
        assert names(output.parent) == ["net.data", "net.onnx"]
        assert weights(output)[0, 0] == 1.0
    for _ in range(2):
        stored = open_model(path)
        with Staging() as staging:
            write_model(*stored, staging.folder(output) / output.name, {place: place})
            staging.commit(last=output, kept=True)
        assert weights(output)[0, 0] == 1.0


def test_copies_that_another_model_reads_stay(tmp_path: Path) -> None:
    older, newer = source(tmp_path / "a", 1.0), source(tmp_path / "b", 2.0)
    output = tmp_path / "out" / "net.onnx"
    output.parent.mkdir()
    for call in range(1, 40):
        put(older, output)
        killed(newer, output, call)
        if ".onnxprune-older-net.data" in output.read_bytes().decode("latin1"):
            break
    other = output.with_name("kept.onnx")
    shutil.copyfile(output, other)
    put(newer, output)
    assert (weights(output)[0, 0], weights(other)[0, 0]) == (2.0, 1.0)


def test_an_interruption_while_data_are_copied_leaves_no_part_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = source(tmp_path / "a", 1.0), source(tmp_path / "b", 2.0)
    output = tmp_path / "out" / "net.onnx"
    output.parent.mkdir()
    put(older, output)

    def interrupted(_: Path, target: Path) -> None:
        target.write_bytes(b"a part")
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put(newer, output)
    assert names(output.parent) == ["net.data", "net.onnx"]
    assert weights(output)[0, 0] == 1.0
