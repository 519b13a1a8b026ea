"""What `--json` prints is what the published schemas say, and nothing that they do not know."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from places import CONVNET, ROOT
from program import call, few

from onnxprune.report.schemas import SCHEMAS


def strict(schema: Any) -> Any:
    """Return a schema that allows no names but those that it lists."""
    if isinstance(schema, list):
        return [strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    return {**found, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else found


def refuse_unknown(kind: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    published = json.loads((ROOT / "docs" / "schema" / f"{kind}.schema.json").read_text())
    Draft202012Validator(published).validate(found)
    Draft202012Validator(strict(published)).validate(found)
    return found


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_is_one(kind: str) -> None:
    Draft202012Validator.check_schema(json.loads((ROOT / "docs" / "schema" / f"{kind}.schema.json").read_text()))


ARGS = ("--method", "l1", "--preprocess", "unit")


@pytest.mark.parametrize(
    "more",
    [
        ("--macs", "50%", "--oracle", "reference", "--quantize", "int8"),
        ("--max-drop", "5", "--max-class-drop", "50", "--recover", "none"),
        ("--macs", "50%", "--dry-run"),
        ("--classes", "2,5,7", "--trim-head", "--macs", "60%"),
    ],
)
def test_a_pruned_model_and_its_check_are_as_published(tmp_path: Path, more: tuple[str, ...]) -> None:
    output = tmp_path / "a.onnx"
    ended = call(CONVNET, "--data", few(), *ARGS, *more, "-o", output, "--json")
    assert ended.code == 0, ended.stderr
    found = refuse_unknown("prune", ended.stdout)
    assert found["format"] == 1
    if output.exists():
        ended = call("check", output, "--against", CONVNET, "--json")
        assert ended.code == 0, ended.stderr
        refuse_unknown("check", ended.stdout)
        ended = call("compare", CONVNET, output, "--data", few(), "--preprocess", "unit", "--json")
        assert ended.code == 0, ended.stderr
        refuse_unknown("compare", ended.stdout)


def test_data_without_labels_and_failures_are_as_published(tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(few().glob("*/*"))[:40]):
        (flat / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    ended = call(CONVNET, "--data", flat, *ARGS, "--macs", "50%", "-o", tmp_path / "a.onnx", "--json")
    assert ended.code == 0, ended.stderr
    refuse_unknown("prune", ended.stdout)
    refuse_unknown("compare", call("compare", CONVNET, tmp_path / "a.onnx", "--data", flat, "--json").stdout)
    failed = call(CONVNET, "--data", flat, *ARGS, "--macs", "0.0001%", "--json")
    assert refuse_unknown("error", failed.stdout)["exit"] == failed.code == 1
