"""The benchmarks run end to end on tiny nets, without the shared folder."""

import argparse
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import net, run
from PIL import Image

import benchmarks.methods as methods
from benchmarks import arranged, calibration, command, kill, protect, recovery, reproductions, subtasks
from benchmarks.methods_page import page, write_page
from benchmarks.nets import Net, open_net

CONVNET = """(float[n, 3, 8, 8] image) => (float[n, 4] logits)
    <float[8, 3, 3, 3] w0, float[8] b0, float[8, 8, 3, 3] w1, float[8] b1, float[4, 8] w2, float[4] b2> {
        a = Conv<pads = [1, 1, 1, 1]>(image, w0, b0) r = Relu(a)
        c = Conv<pads = [1, 1, 1, 1]>(r, w1, b1) s = Relu(c)
        g = GlobalAveragePool(s) f = Flatten(g) logits = Gemm<transB = 1>(f, w2, b2)
    }"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Net:
    onnx.save(net(CONVNET), tmp_path / "tiny.onnx")
    rng = np.random.default_rng(0)
    for name, count in (("calibration", 60), ("test", 60)):
        x = rng.standard_normal((count, 3, 8, 8)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(count) % 4, class_names=list("abcd"))
    found = Net("tiny", tmp_path / "tiny.onnx", tmp_path, each=10)
    monkeypatch.setattr(methods, "open_net", lambda name, *_: found if name == "tiny" else None)
    return found


def test_methods_are_compared_and_a_run_is_resumed(tiny: Net, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tiny.folder / "rows.jsonl"
    arguments = [
        "nowhere",
        "--nets",
        "tiny,absent",
        "--methods",
        "random,l1,catro",
        "--macs",
        "80%,50%",
        "--draws",
        "2",
    ]
    arguments += ["--rows", str(rows), "--page", str(tiny.folder / "page")]
    methods.main(arguments)
    assert "absent are not in nowhere" in capsys.readouterr().err
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    # the original; three methods: on the first draw 2 budgets x 3 recoveries and two matches, on the second 2 x refit
    assert len(found) == 1 + 3 * 6 + 2 + 3 * 2
    for row in found[1:]:
        assert row["reached"] <= row["macs"]
        assert len(row["by_class"]) == 4
        assert row["top1"] == pytest.approx(np.mean(row["by_class"]))
    methods.main(arguments)
    assert len(rows.read_text().splitlines()) == len(found)
    rows.write_text("\n".join(rows.read_text().splitlines()[:-1]) + '\n{"net": "ti')  # cut off while it was written
    methods.main([*arguments, "--test-images", "60"])
    kept = methods.known(argparse.Namespace(rows=rows))
    assert sorted(kept.done()) == sorted(map(kept.key, found))
    text = (tiny.folder / "page" / "methods.md").read_text()
    assert "80% none" in text
    assert "50% match" in text
    assert "| `random` |" in text
    assert "### 50% of the MACs" in text
    drawn = (tiny.folder / "page" / "methods.svg").read_text()
    assert all(f"tiny, {recovery}" in drawn for recovery in ("none", "fold", "refit", "match"))
    assert drawn.count('<g id="line ') == 11


def test_images_come_normalised_from_the_archive(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "cifar10_resnet20.onnx").touch()
    with zipfile.ZipFile(tmp_path / "data" / "cifar10_jpeg.zip", "w") as archive:
        for split, count in (("train", 12), ("test", 3)):
            for label, name in enumerate(("cat", "dog")):
                for number in range(count):
                    picture = io.BytesIO()
                    Image.new("RGB", (4, 4), (40 * label + number, 0, 0)).save(picture, "JPEG", quality=100)
                    archive.writestr(f"cifar10_jpeg/{split}/{name}/{number:04}.jpg", picture.getvalue())
    found = open_net("cifar10_resnet20", tmp_path, tmp_path / "cache")
    assert found is not None
    assert open_net("cifar10_resnet56", tmp_path, tmp_path / "cache") is None
    with np.load(found.calibration) as few, np.load(found.test) as test:
        assert few["y"].tolist() == [0] * 12 + [1] * 12
        assert few["class_names"].tolist() == ["cat", "dog"]
        assert test["x"].shape == (6, 3, 4, 4)
        red = (np.array([0, 9, 40, 49]) / 255 - 0.485) / 0.229
        assert few["x"][[0, 9, 12, 21], 0, 0, 0] == pytest.approx(red, abs=0.05)


def row(**more: Any) -> dict[str, Any]:
    cell = {"net": "n", "method": "l1", "draw": 0, "macs": 0.5, "recover": "refit"}
    return {**cell, "top1": 70.0, "by_class": [80.0, 60.0], **more}


def test_the_page_says_spread_worst_class_and_paired_differences(tmp_path: Path) -> None:
    before = {"net": "n", "method": "original", "top1": 90.0, "by_class": [90.0, 90.0]}
    rows = [before | {"test_images": 10, "versions": {"numpy": "2"}}]
    rows += [row(draw=draw, top1=70.0 + draw) for draw in range(3)]
    rows += [row(method="catro", draw=draw, top1=72.0 + 2 * draw) for draw in range(3)]
    rows += [row(method="random", draw=draw, top1=60.0 + draw) for draw in range(3)]
    text = page(rows)
    assert "| `random` | 61.0 (60.0-62.0) |" in text
    assert "| `l1` | 30.0 (30.0-30.0) |" in text, "the second class lost thirty points"
    assert "| method | top-1 | from `random` | from `l1` |" in text
    assert "| `catro` | 74.00 | +13.00 ± 1.13 | +3.00 ± 1.13 |" in text, "differences of 12, 13, 14 and of 2, 3, 4"
    write_page(rows, tmp_path)
    assert (tmp_path / "methods.md").read_text() == text
    drawn = (tmp_path / "methods.svg").read_text()
    assert all(
        label in drawn
        for label in ("n, refit", "n, match: not measured", "random", "l1", "MACs left", "points of top-1 lost")
    )
    assert drawn.count('<g id="line ') == 3


def test_costs_are_multiples_of_a_plain_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(net(CONVNET), tmp_path / "tiny.onnx")
    options = [
        str(tmp_path),
        "--models",
        "tiny,absent",
        "--images",
        "16",
        "--what",
        "catro,entropy,widths,refit",
        "--threads",
        "1",
    ]
    files = ["--rows", str(tmp_path / "out.json"), "--page", str(tmp_path / "page.md")]
    monkeypatch.setattr(sys, "argv", ["calibration", *options, *files])
    calibration.main()
    out, err = capsys.readouterr()
    assert "absent.onnx is not there" in err
    assert out.count("| tiny |") == 4
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["what"] for row in rows] == ["catro", "entropy", "widths", "refit"]
    assert all(row["ratio"] > 0 for row in rows)
    assert (tmp_path / "page.md").read_text().count("| tiny |") == 4


def test_killed_runs_are_resumed_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "tiny.onnx"
    onnx.save(net(CONVNET), model)
    options = ["--method", "l1", "--ratio", "50%", "--round-to", "1"]
    x = np.random.default_rng(0).standard_normal((20, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    arguments = [str(model), "--data", str(tmp_path / "x.npz"), "--kills", "2", "--steps", "2", "--seed", "5"]
    assert kill.main([*arguments, "--", *options]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 2
    assert all(row[-3:] == ["yes", "yes", "yes |"] for row in rows)
    assert {row[1] for row in rows} <= {"-9", "0"}


@pytest.fixture
def drawn_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> recovery.Net:
    """A tiny net that is right on all of its images, which are of four classes."""
    model, rng = net(CONVNET), np.random.default_rng(0)
    x = rng.standard_normal((320, 3, 8, 8)).astype(np.float32)
    scores = run(model, {"image": x})[0]
    scores -= scores.mean(axis=0)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b2")
    found = onnx.numpy_helper.to_array(bias) - run(model, {"image": x})[0].mean(axis=0)
    bias.CopyFrom(onnx.numpy_helper.from_array(found, "b2"))
    onnx.save(model, tmp_path / "tiny.onnx")
    for name, part in (("calibration", slice(160)), ("test", slice(160, None))):
        y = scores[part].argmax(axis=1)
        np.savez(tmp_path / f"{name}.npz", x=x[part], y=y, class_names=list("abcd"))
    tiny = recovery.Net("tiny", tmp_path / "tiny.onnx", tmp_path / "calibration.npz", tmp_path / "test.npz", {})
    for module in (subtasks, protect, reproductions):
        monkeypatch.setattr(module, "open_net", lambda *_: tiny)
    monkeypatch.setattr(recovery, "OTHERS", 60)
    monkeypatch.setattr(command, "limit_threads", lambda count: None)
    return tiny


def test_protected_classes_are_compared_with_themselves(drawn_from: recovery.Net, tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--cache", str(tmp_path), "--draws", "2", "--page", str(tmp_path / "page.md")]
    protect.main(arguments)
    protect.main(arguments)
    rows = [json.loads(line) for line in (tmp_path / "protect.jsonl").read_text().splitlines()]
    assert [(row["draw"], row["protected"]) for row in rows] == [(0, False), (0, True), (1, False), (1, True)]
    assert all(len(row["only"]) == 2 and set(row["only"]) <= set(row["classes"]) for row in rows)
    assert rows[0]["classes"] != rows[1]["classes"]
    first = (tmp_path / "page.md").read_text().splitlines()[7].split(" | ")
    lost = [100 * np.mean([row["classes"][name] for name in row["only"]]) for row in rows[::2]]
    assert first[3].startswith(f"{np.mean(lost):.1f} (")


def test_the_papers_procedures_are_run_and_resumed(
    drawn_from: recovery.Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproductions, "WHOLE", ())
    arguments = [str(tmp_path), "--cache", str(tmp_path), "--nets", "tiny", "--images", "80", "--epochs", "1"]
    arguments += ["--page", str(tmp_path / "page.md")]
    reproductions.main([*arguments, "--parts", "entropy"])
    reproductions.main(arguments)
    rows = [json.loads(line) for line in (tmp_path / "reproductions.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == ["entropy"] * 9 + ["catro"] * 6 + ["class-aware"] * 2
    for row in rows[:9]:
        assert "note" in row or (row["params"] < 1 and 0 <= row["refit"] <= 1)
    gone = [1 - row.get("params", 1) for row in rows[:9]]
    assert max(gone) > 0
    assert gone[0] <= gone[1] <= gone[2], "a higher threshold removes more"
    assert all(row["macs"] <= 0.55 for row in rows[9:15])
    assert all("turns" in row or "note" in row for row in rows[15:])
    text = (tmp_path / "page.md").read_text()
    assert "## class-aware: train" in text
    assert "| tiny | map, alpha 0.8 |" in text


def test_subtasks_are_drawn_measured_and_resumed(drawn_from: recovery.Net, tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--cache", str(tmp_path), "--counts", "2,3", "--macs", "0.5", "--draws", "2"]
    arguments += ["--nets", "tiny", "--page", str(tmp_path / "page.md")]
    subtasks.main([*arguments, "--ways", "blind l1"])
    subtasks.main([*arguments, "--ways", "blind l1,catro,reconstruction"])
    rows = [json.loads(line) for line in (tmp_path / "subtasks.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * 3
    assert {len(row["only"]) for row in rows} == {2, 3}
    assert all(row["left"] <= 0.5 and 0 <= row["top1"] <= 1 for row in rows)
    with np.load(tmp_path / "test.npz") as data:
        asked = rows[0]["only"]
        assert asked == sorted(asked)
        x = data["x"][np.isin(data["y"], ["abcd".index(name) for name in asked])]
    assert len(x) > 10 * len(asked)
    page = (tmp_path / "page.md").read_text()
    assert "## 2 classes, 50 % of the MACs" in page
    before, blind = ([100 * row[name] for row in rows if row["way"] == "blind l1"] for name in ("before", "top1"))
    assert f"| none: the original | 4 | {np.mean(before) - np.mean(blind):+.2f} ± " in page


def test_arranged_models_are_compared_with_plain_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arranged, "EACH", 5)
    monkeypatch.setitem(arranged.ASKED, "g", {"half": {"macs": 0.5}})
    text = CONVNET.replace("float[8, 8, 3, 3] w1", "float[8, 4, 3, 3] w1").replace("[8, 3, 3, 3]", "[8, 1, 3, 3]")
    model = net(text.replace("c = Conv<pads", "c = Conv<group = 2, pads").replace("n, 3, 8, 8", "n, 1, 8, 8"))
    images = np.random.default_rng(0).integers(0, 256, (400, 8, 8), dtype=np.uint8)
    logits = run(model, {"image": ((images[:, None] / 255 - 0.286) / 0.353).astype(np.float32)})[0]
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b2")
    centred = onnx.numpy_helper.to_array(bias) - np.median(logits, axis=0)
    bias.CopyFrom(onnx.numpy_helper.from_array(centred.astype(np.float32), "b2"))
    labels = (logits - np.median(logits, axis=0)).argmax(axis=1)
    for folder in ("models", "data"):
        (tmp_path / folder).mkdir()
    onnx.save(model, tmp_path / "models" / "g.onnx")
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez(tmp_path / "data" / "fashion_mnist.npz", **arrays)
    arguments = [str(tmp_path), "--cache", str(tmp_path), "--nets", "g,missing", "--methods", "l1", "--draws", "2"]
    arranged.main(arguments)
    arranged.main([*arguments, "--page", str(tmp_path / "page.md")])
    rows = [json.loads(line) for line in (tmp_path / "arranged.jsonl").read_text().splitlines()]
    assert [(row["draw"], row["arranged"]) for row in rows] == [(0, False), (0, True), (1, False), (1, True)]
    assert "| g | l1 | half |" in (tmp_path / "page.md").read_text()
