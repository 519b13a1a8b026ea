"""`--quantize int8` through the command line: three columns, both effects apart, and an exit code where it fails."""

import json
from pathlib import Path
from typing import Any

import pytest
from folders import names
from places import RESNET, TEST
from program import call, few, prune, save_images

from onnxprune.errors import UnreachableError
from onnxprune.pipeline.execution import quantize as quantizing

ARGS = ("--method", "l1", "--macs", "50%", "--recover", "none", "--quantize", "int8")


def rows(text: str) -> dict[str, list[str]]:
    """Return the last row that begins with each word."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if len(cells) > 1}


def test_the_report_has_three_columns_and_both_effects(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    ended = prune(tmp_path / "a.onnx", *ARGS, "--test", TEST, "--report", page, "--quantized", tmp_path / "q.onnx")
    assert ended.code == 0, ended.stderr
    for text in (ended.stdout, page.read_text()):
        for word in ("original", "pruned + int8", "by pruning", "by quantization", "by both", "activations in uint8"):
            assert word in text
    three, changes = ended.stdout.split("Pruned and quantized")[1].split("by pruning")
    assert {"file size", "latency", "top-1"} <= rows(three).keys()
    assert {len(cells) for name, cells in rows(three).items() if name != "original"} == {3}
    assert rows(changes)["file size"][1].startswith("0.3")
    assert len(rows(changes)["top-1"]) == 3
    assert f"Quantized model written to {tmp_path / 'q.onnx'}" in ended.stdout
    assert names(tmp_path) == ["a.onnx", "a.plan.json", "q.onnx", "r.html"]


def test_json_has_the_quantized_model(tmp_path: Path) -> None:
    found = json.loads(prune(tmp_path / "a.onnx", *ARGS, "--json").stdout)["quantized"]
    assert found["output"] == str(tmp_path / "a.int8.onnx")
    assert found["size"] == (tmp_path / "a.int8.onnx").stat().st_size
    assert set(found["effects"]) == {"pruning", "quantization", "both"}
    for effect in found["effects"].values():
        assert set(effect) == {"size", "latency", "top1", "interval", "drift"}
    plain = json.loads(prune(tmp_path / "b.onnx", *ARGS[:-2], "--json").stdout)
    assert plain["quantized"] is None


def test_without_labels_the_columns_are_drifts(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", *ARGS, data=save_images(tmp_path / "images", 20))
    assert ended.code == 0, ended.stderr
    original, pruned, both = rows(ended.stdout.split("Pruned and quantized")[1].split("by pruning")[0])[
        "drift of the outputs"
    ]
    assert original == "-"
    assert pruned.endswith("%")
    assert both.endswith("%")


def test_a_replayed_plan_is_quantized_to_the_same_bytes(tmp_path: Path) -> None:
    assert prune(tmp_path / "a.onnx", *ARGS).code == 0
    ended = call(
        "apply", RESNET, tmp_path / "a.plan.json", "--data", few(), "--quantize", "int8", "-o", tmp_path / "b.onnx"
    )
    assert ended.code == 0, ended.stderr
    assert (tmp_path / "b.int8.onnx").read_bytes() == (tmp_path / "a.int8.onnx").read_bytes()


def test_a_quantization_that_fails_at_the_end_is_said_and_the_pruned_model_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise UnreachableError("onnxruntime cannot quantize 'it' (no way); leave out --quantize.", "not-quantizable")

    monkeypatch.setattr("onnxprune.pipeline.opening.try_quantizing", lambda run: None)
    monkeypatch.setattr(quantizing, "quantize_int8", fails)
    ended = prune(tmp_path / "a.onnx", *ARGS, "-q")
    assert ended.code == 1
    assert ended.sentence == (
        "The pruned model is written, and the quantized one is not: onnxruntime cannot quantize 'it' (no way); leave "
        "out --quantize."
    )
    assert ended.stdout.startswith("done, with 1 warning: ")
    assert names(tmp_path) == ["a.onnx", "a.plan.json"]
    ended = prune(tmp_path / "b.onnx", *ARGS, "--json")
    assert (ended.code, ended.sentence in json.loads(ended.stdout)["error"]) == (1, True)
    assert {"plan", "code", "exit"} <= json.loads(ended.stdout).keys()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--quantize", "int4"), "--quantize"),
        (("--quantized", "q.onnx"), "ask for it with --quantize int8"),
        (("--quantize", "int8", "--dry-run"), "A plan has no quantization in it"),
        (("--quantize", "int8", "--quantized", "a.onnx"), "would both be written to"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = prune(Path("a.onnx"), "--macs", "50%", *args)
    assert ended.code == 2
    assert said in ended.sentence
    assert not list(tmp_path.iterdir())
