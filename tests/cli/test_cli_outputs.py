"""Nothing that is read is ever written, whatever it is called, and only files are replaced."""

import json
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from folders import contents, names
from large import NAMES, model, one_file, outside, packed
from places import RESNET
from program import call, few, prune, refused, save, save_images

from onnxprune.graph.storage.cache import cache_folder
from onnxprune.graph.storage.load import load_model

CUT = ("--method", "l1", "--ratio", "50%", "--round-to", "1", "-q")


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """A model with a data file, weights.bin; afterwards both are as they were."""
    path = one_file(tmp_path / "in")
    before = contents(path.parent)
    yield path
    assert {name: content for name, content in contents(path.parent).items() if name in before} == before


@pytest.fixture
def null(tmp_path: Path) -> Iterator[Path]:
    """The null device, or another node of it where one can be made; it is there afterwards."""
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        path = Path(os.devnull)
    yield path
    assert stat.S_ISCHR(path.stat().st_mode)


# ---- what is read ----

DATA_FILE = "the model's data file 'weights.bin'"


@pytest.mark.parametrize(
    "option", ["-o", "--plan", "--report", "--save-scores", "--quantized"], ids=lambda option: str(option).strip("-")
)
def test_no_output_of_a_run_is_the_models_data_file(large: Path, tmp_path: Path, option: str) -> None:
    place = () if option == "-o" else ("-o", tmp_path / "a.onnx")
    data = save_images(tmp_path / "images", 4, classes=2)
    more = ("--quantize", "int8", "--data", data) if option == "--quantized" else ()
    refused(call(large, *CUT, *more, *place, option, large.with_name("weights.bin")), "would overwrite", DATA_FILE)


def test_no_default_name_or_part_of_a_curve_is_a_data_file(tmp_path: Path) -> None:
    path = outside(model(), tmp_path, packed(model(), NAMES, "a.csv"))
    before = contents(tmp_path)
    refused(call(path, *CUT, "-o", tmp_path / "b.onnx", "--pareto", tmp_path / "a"), "data file 'a.csv'")
    path = outside(model(), tmp_path, packed(model(), NAMES, "a.plan.json"), name="other.onnx")
    before = contents(tmp_path)
    refused(call(path, *CUT, "-o", tmp_path / "a.onnx"), "The plan", "data file 'a.plan.json'")
    assert contents(tmp_path) == before


def test_no_output_of_other_commands_is_the_models_data_file(large: Path, tmp_path: Path) -> None:
    data, images = large.with_name("weights.bin"), save_images(tmp_path / "images", 4, classes=2)
    assert call(large, *CUT, "--dry-run", "-o", tmp_path / "a.onnx").code == 0
    plan = tmp_path / "a.plan.json"
    refused(call("apply", large, plan, "-o", tmp_path / "b.onnx", "--report", data), "The report", DATA_FILE)
    refused(call("apply", large, plan, "-o", data), "The model", DATA_FILE)
    refused(call("apply", large, plan, "-o", tmp_path / "b.onnx", "--report", plan), "The report", "the plan")
    refused(call("profile", large, "-o", data), "The latency table", DATA_FILE)
    refused(call("profile", large, "--pack", data), "The packed file", DATA_FILE)
    pytest.importorskip("torch")
    refused(call("iterate", large, "--data", images, "-o", data), "The model", DATA_FILE)
    refused(call("finetune", large, "--data", images, "-o", data), "The model", DATA_FILE)
    refused(call("finetune", large, "--data", images, "--checkpoint", data), "The checkpoint", DATA_FILE)


def test_the_labels_that_a_plan_asks_for_are_not_the_plan(tmp_path: Path) -> None:
    trimmed = prune(tmp_path / "a.onnx", "--classes", "1,4", "--trim-head", "--macs", "50%", "--dry-run", "-q")
    assert trimmed.code == 0, trimmed.stderr
    plan = (tmp_path / "a.plan.json").rename(tmp_path / "b.labels.txt")
    before = plan.read_bytes()
    refused(call("apply", RESNET, plan, "-o", tmp_path / "b.onnx"), "The labels would overwrite the plan")
    assert plan.read_bytes() == before


@pytest.mark.parametrize("how", ["symbolic link", "hard link", "link in the folder", "linked class"])
def test_a_file_of_the_data_is_known_under_every_name(tmp_path: Path, how: str) -> None:
    images = save_images(tmp_path / "images", 4, classes=2)
    image, output = images / "c0" / "000.png", tmp_path / "out.png"
    if how == "symbolic link":
        output.symlink_to(image)
    elif how == "hard link":
        output.hardlink_to(image)
    elif how == "link in the folder":
        image.rename(output)
        image.symlink_to(output)
    else:
        (tmp_path / "other").mkdir()
        output = image.rename(tmp_path / "other" / "000.png")
        (images / "c2").symlink_to(tmp_path / "other")
    before = output.read_bytes()
    ended = prune(tmp_path / "a.onnx", "--report", output, data=images)
    refused(ended, "The report would overwrite", "part of the sample data")
    assert output.read_bytes() == before


def test_nothing_is_written_among_what_is_measured_once(large: Path, tmp_path: Path) -> None:
    known = sorted(cache_folder().iterdir())
    for place in (known[0], cache_folder() / "new.json"):
        refused(call(large, *CUT, "-o", tmp_path / "a.onnx", "--report", place), "The report", "cache folder")
        refused(call("profile", large, "-o", place), "The latency table", "cache folder")
    assert sorted(cache_folder().iterdir()) == known


def test_folders_that_are_written_are_no_part_of_the_data(large: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    images = save_images(tmp_path / "images", 4, classes=2)
    before = contents(images)
    args = ("--data", images, "--epochs", 1, "-o", tmp_path / "a.onnx")
    refused(call("finetune", large, *args, "--tensorboard", images / "logs"), "The logs' folder", "the training data")
    refused(call("iterate", large, *args, "--work", images / "work"), "The work folder", "the sample data")
    refused(call("iterate", large, *args, "--work", large.parent), "The work folder", "has the input model in it")
    assert contents(images) == before
    assert names(large.parent) == ["net.onnx", "weights.bin"]


def test_names_in_another_case_are_other_files_where_the_system_says_so(tmp_path: Path) -> None:
    path = save(model(), tmp_path / "net.onnx")
    if (tmp_path / "NET.onnx").exists():
        refused(call(path, *CUT, "-o", tmp_path / "NET.onnx"), "would overwrite the input model")
        refused(call(path, *CUT, "-o", tmp_path / "a.onnx", "--plan", tmp_path / "A.onnx"), "both be written to")
    else:
        assert call(path, *CUT, "-o", tmp_path / "NET.onnx", "--plan", tmp_path / "Net.onnx").code == 0
        assert sorted(contents(tmp_path)) == ["NET.onnx", "Net.onnx", "net.onnx"]


def test_data_files_of_the_result_are_none_that_are_read(large: Path) -> None:
    """The model has no ending by which its data file could be told from that of the model that is replaced."""
    source = large.rename(large.with_name("net.model"))
    old = large.with_name("slim.onnx")
    shutil.copy(source, old)
    before = large.with_name("weights.bin").read_bytes()
    assert call(source, *CUT, "-o", old).code == 0
    assert large.with_name("weights.bin").read_bytes() == before
    assert len(load_model(old).graph.initializer) == len(load_model(source.rename(large)).graph.initializer)


# ---- where it is written ----


@pytest.mark.parametrize("kind", ["FIFO", "socket", "device", "link in a circle"])
@pytest.mark.parametrize("option", ["-o", "--report"])
@pytest.mark.usefixtures("null")
def test_only_files_are_replaced(large: Path, tmp_path: Path, kind: str, option: str) -> None:
    path = tmp_path / "x"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to(path)
    mode = path.lstat().st_mode
    more = () if option == "-o" else ("-o", tmp_path / "a.onnx")
    refused(
        call(large, *CUT, *more, option, path), str(path), "leads nowhere" if "link" in kind else "a device, a pipe"
    )
    assert path.lstat().st_mode == mode
    assert not (tmp_path / "a.onnx").exists()


def test_a_pipe_behind_a_link_is_no_file(large: Path) -> None:
    reading, writing = os.pipe()
    refused(call(large, *CUT, "-o", f"/dev/fd/{writing}"), "a device, a pipe or a socket")
    os.close(reading)
    os.close(writing)


def test_what_goes_to_the_null_device_is_nowhere(large: Path, tmp_path: Path, null: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    ended = call(large, *CUT, "-o", null, "--json")
    assert ended.code == 0, ended.stderr
    assert json.loads(ended.stdout)["output"] == str(null)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "link.onnx").symlink_to(null)
    ended = call(large, *CUT, "-o", tmp_path / "link.onnx", "--report", tmp_path / "r.html", "--plan", tmp_path / "p")
    assert ended.code == 0, ended.stderr
    assert sorted({*tmp_path.iterdir()} - {*before}) == [tmp_path / "link.onnx", tmp_path / "p", tmp_path / "r.html"]
    assert call("apply", large, tmp_path / "p", "-o", null, "--report", null, "-q").code == 0
    assert call(large, *CUT, "-o", tmp_path / "b.onnx", "--plan", null, "--save-scores", null).code == 0
    assert not (tmp_path / "b.plan.json").exists()
    assert call("profile", large, "--pack", null, "-q").code == 0


def test_all_that_belongs_to_a_model_goes_to_the_null_device_with_it(tmp_path: Path, null: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    args = ("--classes", "1,4", "--trim-head", "--macs", "50%", "--quantize", "int8", "--pareto", null, "-q")
    ended = prune(null, *args)
    assert ended.code == 0, ended.stderr
    steps = ("--macs", "50%", "--steps", "2", "--recover", "none", "-q")
    assert prune(null, *steps).code == 0
    refused(prune(null, *steps, "--resume"), "keeps no state")
    assert sorted(tmp_path.rglob("*")) == before
    assert sorted(null.parent.glob(f"{null.name}.*")) == []


def test_training_for_the_null_device_leaves_nothing(tmp_path: Path, null: Path) -> None:
    pytest.importorskip("torch")
    before = sorted(tmp_path.rglob("*"))
    args = ("--data", few(), "--preprocess", "unit", "--epochs", 1, "-o", null, "-q")
    for _ in range(2):
        ended = call("finetune", RESNET, *args)
        assert ended.code in (0, 1), ended.stderr
    refused(call("finetune", RESNET, *args, "--resume"), "no checkpoint")
    ended = call("iterate", RESNET, *args, "--macs", "50%", "--iterations", 1, "--floor", 100)
    assert ended.code == 0, ended.stderr
    assert f"Model written to {null}" in ended.stdout
    assert "Every iteration" not in ended.stdout
    refused(call("iterate", RESNET, *args, "--macs", "50%", "--resume"), "to resume from")
    assert sorted(tmp_path.rglob("*")) == before
    assert sorted(null.parent.glob(f"{null.name}.*")) == []


@pytest.mark.parametrize("existing", [True, False])
def test_a_link_is_followed_and_stays(large: Path, tmp_path: Path, existing: bool) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "links").mkdir()
    outputs = {"-o": "net.onnx", "--report": "r.html", "--plan": "p.json"}
    for name in outputs.values():
        (tmp_path / "links" / f"to-{name}").symlink_to(tmp_path / "store" / name)
        if existing:
            (tmp_path / "store" / name).write_bytes(b"old")
    named = [part for option, name in outputs.items() for part in (option, tmp_path / "links" / f"to-{name}")]
    for _ in range(2):  # the second run replaces the files of the first
        ended = call(large, *CUT, *named)
        assert ended.code == 0, ended.stderr
        assert sorted(contents(tmp_path / "store")) == ["net.onnx", "p.json", "r.html", "weights.bin"]
        links = sorted((tmp_path / "links").iterdir())
        assert [link.name for link in links] == ["to-net.onnx", "to-p.json", "to-r.html"]
        assert all(link.is_symlink() for link in links)
    plain = call(large, *CUT, "-o", tmp_path / "plain.onnx")
    assert plain.code == 0
    assert load_model(tmp_path / "store" / "net.onnx") == load_model(tmp_path / "plain.onnx")


def test_a_replaced_file_keeps_its_mode_and_a_new_one_has_that_of_any_file(large: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        assert call(large, *CUT, "-o", tmp_path / "a.onnx", "--report", tmp_path / "r.html").code == 0
        made = [tmp_path / name for name in ("a.onnx", "a.plan.json", "r.html", "weights.bin")]
        assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o640] * 4
        for path, mode in zip(made, (0o604, 0o600, 0o666, 0o444), strict=True):
            path.chmod(mode)
        old = [path.stat().st_ino for path in made]
        assert call(large, *CUT, "-o", tmp_path / "a.onnx", "--report", tmp_path / "r.html").code == 0
        assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o604, 0o600, 0o666, 0o444]
        assert not set(old) & {path.stat().st_ino for path in made}
    finally:
        os.umask(before)
