"""What the check of a cut showed is said by JSON, plan and metadata, and can be asked for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from folders import names
from nets import net
from program import call
from refusals import refused

import onnxprune
from onnxprune.pipeline.execution import cut as cutting
from onnxprune.verification.equality import check_equality

NET = """(float[n, 3] x) => (float[n, 4] y) <float[3, 8] w0, float[8, 4] w1> {
        c = MatMul(x, w0)
        y = MatMul(c, w1)
    }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(net(NET), path)
    return path


def said(folder: Path) -> tuple[str, str]:
    entries = {entry.key: entry.value for entry in onnx.load(folder / "out.onnx").metadata_props}
    return entries["onnxprune.proof"], json.loads((folder / "out.plan.json").read_text())["proof"]


@pytest.mark.parametrize(("where", "proof"), [("outputs", "equal"), ("perturbed weights", "perturbed")])
def test_what_was_shown_is_said(
    where: Any, proof: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "check_equality", lambda *given: replace(check_equality(*given), where=where))
    result = onnxprune.prune(
        model, method="l1", ratio=0.5, force=True, output=tmp_path / "out.onnx", require_proof=True
    )
    assert result.to_json()["verification"]["proof"] == proof
    assert said(tmp_path) == (proof, proof)


def test_without_a_proof_nothing_is_written_on_request(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "check_equality", lambda *given: replace(check_equality(*given), status="unproven"))
    settings: dict[str, Any] = {"method": "l1", "ratio": 0.5, "force": True, "output": tmp_path / "out.onnx"}
    with refused("unproven", "require_proof"):
        onnxprune.prune(model, **settings, require_proof=True)
    assert names(tmp_path) == ["model.onnx"]
    onnxprune.prune(model, **settings)
    assert said(tmp_path) == ("unproven", "unproven")
    plan = tmp_path / "out.plan.json"
    ended = call("apply", model, plan, "-o", tmp_path / "again.onnx", "--require-proof")
    assert ended.code == 3, ended
    assert "right" in ended.sentence
    assert names(tmp_path) == ["model.onnx", "out.onnx", "out.plan.json"]
