"""The GitHub action: its script, run as a runner runs it, and that its inputs reach the script as variables alone."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml
from places import CONVNET, ROOT
from program import few

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEP = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "prune")


def run(folder: Path, **inputs: str) -> tuple[int, str, dict[str, str]]:
    """Run the script in a folder; return its exit status, the job's summary and the outputs."""
    given = {name: str(entry.get("default", "")) for name, entry in ACTION["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    read = {name: re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value) for name, value in STEP["env"].items()}
    variables = {name: given[found[1]] for name, found in read.items() if found is not None}
    assert variables.keys() == STEP["env"].keys()
    summary, outputs = folder / "summary.md", folder / "outputs"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(outputs), "GITHUB_ACTION_PATH": str(ROOT)}
    env = {**os.environ, **variables, **told, "PATH": path}
    ended = subprocess.run(
        ["bash", "-c", STEP["run"]], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert ("Traceback" in ended.stderr) is False, ended.stderr
    text = outputs.read_text() if outputs.exists() else ""
    found = {name: value for name, _, value in re.findall(r"^(\w+)<<(\S+)\n(.*?)\n\2$", text, re.MULTILINE | re.DOTALL)}
    return ended.returncode, summary.read_text(), found


def test_a_model_is_pruned_and_the_summary_told(tmp_path: Path) -> None:
    options = "\n  --macs=50% \n--method=l1\n\n--preprocess=unit\n--recover=none\n"
    status, summary, outputs = run(
        tmp_path, model=str(CONVNET), data=str(few()), options=options, fail_if="size_ratio > 0.9\ntop1_drop > 50"
    )
    assert status == 0
    assert summary.startswith("## digits\\_convnet.onnx, pruned by l1\n")
    names = [f"pruned/model.{ending}" for ending in ("onnx", "html", "plan.json")]
    assert outputs == {"model": names[0], "report": names[1], "files": "\n".join(names)}
    onnx.checker.check_model(onnx.load(tmp_path / outputs["model"]))
    assert sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "pruned").iterdir()) == sorted(names)


def test_what_is_uploaded_is_what_was_written(tmp_path: Path) -> None:
    """Not the whole workspace, where the output goes into its root, and no model of a dry run."""
    (tmp_path / "-m.onnx").write_bytes(CONVNET.read_bytes())
    options = "--output=elsewhere.onnx\n--macs=50%\n--method=l1\n--preprocess=unit\n--recover=none"
    status, _, outputs = run(tmp_path, model="-m.onnx", data=str(few()), options=options, output="out.onnx")
    assert (status, outputs["model"]) == (0, "out.onnx")
    assert outputs["files"].splitlines() == ["out.onnx", "out.html", "out.plan.json"]
    dry = f"{options}\n--dry-run"
    status, _, outputs = run(tmp_path, model="-m.onnx", data=str(few()), options=dry, output="d.onnx")
    assert (status, outputs["model"]) == (0, "")
    assert "d.onnx" not in outputs["files"].splitlines()


def test_a_missed_condition_fails_the_job_and_says_why(tmp_path: Path) -> None:
    status, summary, outputs = run(
        tmp_path, model=str(CONVNET), data=str(few()), options="--macs=50%\n--method=l1", fail_if="macs_ratio < 0.9"
    )
    assert (status, outputs) == (1, {})
    assert summary.startswith(
        "## onnxprune: exit code 1, nothing was written\n\n    onnxprune: --fail-if 'macs_ratio < 0.9'"
    )
    assert not list((tmp_path / "pruned").iterdir())


@pytest.mark.parametrize("text", ["$(touch hacked)", "`touch hacked`", "; touch hacked", '" && touch hacked "'])
def test_inputs_are_not_run(tmp_path: Path, text: str) -> None:
    status, summary, _ = run(tmp_path, model=text, data=text, options=text, fail_if=text, output=f"{text}/a.onnx")
    assert status == 2
    assert "exit code 2" in summary
    assert not list(tmp_path.rglob("hacked"))


def test_no_step_puts_an_input_into_its_code() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_every_input_and_output_is_described() -> None:
    assert all(entry["description"] for entry in (*ACTION["inputs"].values(), *ACTION["outputs"].values()))
    page = (ROOT / "docs" / "ci.md").read_text()
    example = next(
        text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "uses: OWNER/onnxprune" in text
    )
    (job,) = yaml.safe_load(example)["jobs"].values()
    assert set(job["steps"][-1]["with"]) <= set(ACTION["inputs"])
