"""Files are written whole or not at all, and the input is never among them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from folders import names
from nets import net
from refusals import refused

from onnxprune.errors import InputError
from onnxprune.graph.storage.paths import Inputs, check_outputs
from onnxprune.graph.storage.staging import Staging, with_metadata, write_bytes


@pytest.fixture
def umask() -> Iterator[int]:
    """A umask of this test alone."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_content_arrives_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["net.onnx"]


@pytest.mark.parametrize("step", ["replace", "write_bytes"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failure_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, existing: bool
) -> None:
    path = tmp_path / "net.onnx"
    if existing:
        path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, step, fail)
    with refused("not-writable", "net.onnx", "No space left on device"):
        write_bytes(path, b"new")
    assert names(tmp_path) == (["net.onnx"] if existing else [])
    assert not existing or path.read_bytes() == b"old"


def test_an_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "net.onnx", b"new")
    assert names(tmp_path) == []


def test_permissions_are_those_of_any_new_file(tmp_path: Path, umask: int) -> None:
    write_bytes(tmp_path / "net.onnx", b"new")
    assert (tmp_path / "net.onnx").stat().st_mode & 0o777 == 0o666 & ~umask
    assert os.umask(umask) == umask, "the umask was not put back"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_bytes(tmp_path / "no" / "net.onnx", b"new")
    assert str(caught.value) == (
        f"Cannot write {tmp_path / 'no' / 'net.onnx'} (No such file or directory); name a folder that can be written."
    )


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").mkdir()
    with refused("not-writable", "net.onnx", "Is a directory"):
        write_bytes(tmp_path / "net.onnx", b"new")
    assert names(tmp_path) == ["net.onnx"]


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".onnx")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("how", ["itself", "another spelling", "symlink", "hard link", "symlinked folder"])
def test_the_input_is_never_overwritten_under_any_name(tmp_path: Path, how: str) -> None:
    (tmp_path / "models").mkdir()
    source = tmp_path / "models" / "net.onnx"
    source.write_bytes(b"model")
    output = tmp_path / "out.onnx"
    if how == "itself":
        output = source
    elif how == "another spelling":
        output = tmp_path / "models" / ".." / "models" / "net.onnx"
    elif how == "symlink":
        output.symlink_to(source)
    elif how == "hard link":
        output.hardlink_to(source)
    else:
        (tmp_path / "again").symlink_to(tmp_path / "models")
        output = tmp_path / "again" / "net.onnx"
    with refused("would-overwrite", "input model", "net.onnx"):
        check_outputs({"the model": output}, Inputs({"the other": tmp_path / "other.onnx", "the input model": source}))


def test_other_files_may_be_written(tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    source.write_bytes(b"model")
    (tmp_path / "old.onnx").write_bytes(b"model")
    check_outputs({"the model": tmp_path / "new.onnx"}, Inputs({"the input model": source}))
    check_outputs({"the model": tmp_path / "old.onnx"}, Inputs({"the input model": source}))


def test_metadata_is_added_and_changed_without_touching_the_rest() -> None:
    model = net("(float[2] x) => (float[2] y) { y = Relu(x) }")
    model.metadata_props.add(key="author", value="me")
    model.metadata_props.add(key="tool", value="old")
    assert with_metadata(model, {"tool": "new", "more": "1"}) is model
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [
        ("author", "me"),
        ("tool", "new"),
        ("more", "1"),
    ]


def test_what_a_killed_process_left_is_cleared_up_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from onnxprune.graph.storage.staging import Staging\n"
        "staging = Staging(); staging.write(Path(sys.argv[1]) / 'net.onnx', b'half'); print('made', flush=True)\n"
        "time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "made\n"
        (left,) = names(tmp_path)
        assert left.startswith(".onnxprune-")
        write_bytes(tmp_path / "mine.onnx", b"whole")
        assert names(tmp_path) == [left, "mine.onnx"], "its process is alive"
        assert (tmp_path / left / "net.onnx").read_bytes() == b"half"
        other.kill()
    assert names(tmp_path) == [left, "mine.onnx"]
    (tmp_path / ".onnxprune-notes.part").write_bytes(b"a file of somebody else's")
    write_bytes(tmp_path / "mine.onnx", b"again")
    assert names(tmp_path) == [".onnxprune-notes.part", "mine.onnx"]


def test_two_stagings_of_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    with Staging() as one, Staging() as other:
        one.write(tmp_path / "a", b"1")
        other.write(tmp_path / "b", b"2")
        one.commit()
        other.commit()
    assert names(tmp_path) == ["a", "b"]
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"1", b"2"]


def test_a_link_in_the_place_of_a_leftover_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(b"1")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".onnxprune-x.part").symlink_to(tmp_path / "precious")
    write_bytes(tmp_path / "out" / "net.onnx", b"2")
    assert (tmp_path / "precious" / "file").read_bytes() == b"1"


def test_files_are_written_where_folders_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlocked(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unlocked)
    (tmp_path / ".onnxprune-x.part").mkdir()
    write_bytes(tmp_path / "net.onnx", b"1")
    assert names(tmp_path) == [".onnxprune-x.part", "net.onnx"], "nobody knows whose it is"


def test_a_model_that_cannot_be_kept_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "net.onnx").write_bytes(b"old")
    with Staging() as staging, refused("not-writable", "net.onnx", "Permission denied"):
        staging.write(tmp_path / "net.onnx", b"new")
        monkeypatch.setattr(Path, "replace", denied)
        staging.commit(last=tmp_path / "net.onnx", kept=True)
    assert names(tmp_path) == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"old"
