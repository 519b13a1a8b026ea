import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from folders import names
from nets import net
from places import CALIB, RESNET, TEST
from program import call, few, prune, save, save_images


def test_the_main_job_prints_its_result_and_writes_model_plan_and_report(tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    ended = call(
        RESNET, "--data", CALIB, "--test", TEST, "--macs", "50 %", "-o", output, "--report", tmp_path / "r.html"
    )
    assert ended.code == 0
    assert "400 prunable channels in 8 groups, 1 group frozen" in ended.stderr
    assert "symmetric" in ended.stderr, "the table of the presets that were tried"
    assert "The original model: 100.0 % top-1 on 300 images (98.7 to 100.0 %)" in ended.stderr
    rows = {line.split("  ")[0]: line for line in ended.stdout.splitlines()}
    for row in ("params", "MACs", "file size", "prunable channels", "top-1", "95 % interval"):
        assert row in rows
    assert "before" in ended.stdout
    assert "latency (onnxruntime CPU, batch 1, default threads)" in rows
    assert "Requested: at most 50.0 % of the MACs; widths in blocks of 8 (below that any)." in rows
    assert "Reached: 4" in ended.stdout
    assert "Change of top-1:" in ended.stdout
    assert "on 450 images under" in ended.stdout
    assert "cut equals mask: error" in ended.stdout
    assert "frozen" not in ended.stdout, "channels of an output are no news"
    assert f"Model written to {output}" in rows
    onnx.checker.check_model(onnx.load(output), full_check=True)
    assert json.loads((tmp_path / "small.plan.json").read_text())["reached"]["macs"] <= 0.5
    assert "<html" in (tmp_path / "r.html").read_text()
    assert names(tmp_path) == ["r.html", "small.onnx", "small.plan.json"]


def test_the_word_prune_may_be_said(tmp_path: Path) -> None:
    args = ("--data", few(), "--preprocess", "unit", "--macs", "50%", "-q", "--dry-run")
    assert call("prune", RESNET, *args, "-o", tmp_path / "a.onnx").code == 0
    assert call(*args, "-o", tmp_path / "b.onnx", RESNET).code == 0, "options may come first"
    assert (tmp_path / "a.plan.json").read_bytes() == (tmp_path / "b.plan.json").read_bytes()


def test_the_line_and_the_page_say_what_recovery_gave_back(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", "--macs", "5%", "--report", tmp_path / "r.html")
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("Recovery: ")]
    assert re.fullmatch(r"Recovery: top-1 [\d.]+ % after the cut, [\d.]+ % after fold, [\d.]+ % after refit\.", line)
    assert line in (tmp_path / "r.html").read_text()
    bias = prune(tmp_path / "b.onnx", "--macs", "5%", "--recover", "bias", "--json")
    assert [step["name"] for step in json.loads(bias.stdout)["quality"]["steps"]] == ["cut", "bias"]
    assert json.loads(bias.stdout)["recovery"] == {"name": "bias", "samples": 30}


def test_json_is_alone_on_stdout(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", "--macs", "0.5", "--json")
    found = json.loads(ended.stdout)
    assert found["reached"]["macs"] <= 0.5
    assert found["output"] == str(tmp_path / "a.onnx")
    assert {"before", "after", "quality", "verification", "groups", "warnings"} <= set(found)


def test_verbose_shows_every_group_and_class(tmp_path: Path) -> None:
    short = prune(tmp_path / "a.onnx", "--macs", "50%").stdout
    long = prune(tmp_path / "a.onnx", "--macs", "50%", "-v").stdout
    assert "Widths" not in short
    assert "/stage1/stage1.0/conv1/Conv_output_0" in long
    assert "Top-1 by class" in long


def test_quiet_says_nothing_but_the_result(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", "--macs", "50%", "-q")
    assert ended.stderr == ""
    assert "MACs" in ended.stdout


def test_a_dry_run_and_its_replay_give_the_bytes_of_the_direct_run(tmp_path: Path) -> None:
    direct, plan = tmp_path / "direct.onnx", tmp_path / "the.plan.json"
    assert prune(direct, "--macs", "5%", "--seed", "3").code == 0
    dry = prune(tmp_path / "never.onnx", "--macs", "5%", "--seed", "3", "--dry-run", "--plan", plan)
    assert dry.code == 0
    assert "to be pruned" in dry.stdout
    assert f"Plan written to {plan}" in dry.stdout
    assert not (tmp_path / "never.onnx").exists()
    planned, done = (json.loads(path.read_text()) for path in (plan, tmp_path / "direct.plan.json"))
    assert planned.pop("recovery")["name"] == "refit"
    done.pop("recovery")  # what was carried out
    assert (planned.pop("proof"), done.pop("proof")) == ("", "equal")
    assert planned == done
    bare = call("apply", RESNET, plan, "-o", tmp_path / "again.onnx")
    assert bare.code == 0
    assert "Note: Recovery refit takes sample data, so this is the cut alone; give --data for it." in bare.stdout
    assert prune(tmp_path / "cut.onnx", "--macs", "5%", "--seed", "3", "--recover", "none").code == 0
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "cut.onnx").read_bytes() != direct.read_bytes()
    measured = call("apply", RESNET, plan, "--data", few(), "-o", tmp_path / "third.onnx", "--json")
    assert (tmp_path / "third.onnx").read_bytes() == direct.read_bytes()
    quality = json.loads(measured.stdout)["quality"]
    assert quality["samples"] == 10, "the part of the data that the plan's scores did not see"


def test_unlabelled_images_are_judged_by_drift(tmp_path: Path) -> None:
    images = save_images(tmp_path / "images", 12)
    ended = prune(tmp_path / "a.onnx", "--macs", "50%", "--method", "entropy", data=images)
    assert ended.code == 0
    assert "Drift of the outputs" in ended.stdout
    assert "logits" in ended.stdout
    assert "top-1" not in ended.stdout.lower()
    assert "Note: The data has no labels" in ended.stdout


def test_damaged_images_are_named_and_counted(tmp_path: Path) -> None:
    images = save_images(tmp_path / "images", 40)
    (images / "007.png").write_bytes(b"not an image")
    ended = prune(tmp_path / "a.onnx", "--macs", "50%", data=images)
    assert ended.code == 0
    assert "Skipped 1 file that cannot be read\n  007.png\n" in ended.stderr


def test_a_small_convnet_of_two_layers(tmp_path: Path) -> None:
    model = net(
        """(float[N,1,8,8] x) => (float[N,3,8,8] y) <float[32,1,3,3] w, float[3,32,3,3] v>
        { a = Conv<pads=[1,1,1,1]>(x, w) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, v) }"""
    )
    ended = prune(
        tmp_path / "small.onnx",
        "--ratio", "50%", "--method", "random",
        model=save(model, tmp_path / "net.onnx"), data=save_images(tmp_path / "images", 10),
    )  # fmt: skip
    assert ended.code == 0
    assert "Requested: 50.0 % of the channels of every group removed" in ended.stdout
    assert "50.0 % of the prunable channels are left" in ended.stdout


def test_preprocessing_numbers_are_taken_as_they_are(tmp_path: Path) -> None:
    args = (RESNET, "--data", few(), "--macs", "50%", "--dry-run", "-o", tmp_path / "a.onnx")
    ended = call(*args, "--mean", "0", "--std", "1", "--scale", "1/255")
    assert "Preprocessing: as given: scale 0.00392157, mean 0, std 1." in ended.stderr
    ended = call(*args, "--preprocess", "unit", "--mean", "0.01")
    assert "mean 0.01, std 1" in ended.stderr


def test_options_of_the_method_reach_the_plan(tmp_path: Path) -> None:
    def options(*args: str) -> object:
        assert prune(tmp_path / "a.onnx", "--macs", "50%", "--method", "entropy", "--dry-run", *args).code == 0
        return json.loads((tmp_path / "a.plan.json").read_text())["options"]

    assert options("--variant", "gap", "--vote", "--q", "60%") == {"variant": "gap", "rule": "vote", "q": 0.6}
    assert options("--variant", "map", "--option", "rule=vote", "--option", "q=0.5") == {
        "variant": "map",
        "rule": "vote",
        "q": 0.5,
    }


def test_samples_in_an_npz(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.integers(0, 256, (20, 8, 8), dtype=np.uint8))
    assert prune(tmp_path / "a.onnx", "--macs", "50%", data=tmp_path / "x.npz").code == 0


def test_threads_are_named_with_the_latency(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", "--macs", "50%", "--threads", "1")
    assert "batch 1, 1 thread)" in ended.stdout


def test_as_a_program_the_result_goes_to_stdout_and_the_input_stays(tmp_path: Path) -> None:
    before = hashlib.sha256(RESNET.read_bytes()).hexdigest()
    command = [sys.executable, "-m", "onnxprune", str(RESNET), "--data", str(few()), "--macs", "50%", "--json"]
    done = subprocess.run([*command, "-o", str(tmp_path / "a.onnx")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reached"]["macs"] <= 0.5
    assert "The original model" in done.stderr
    assert "\x1b" not in done.stderr, "no escape codes where nobody looks"
    assert hashlib.sha256(RESNET.read_bytes()).hexdigest() == before


def test_scores_are_saved_and_read_again(tmp_path: Path) -> None:
    saved = tmp_path / "s.npz"
    assert prune(tmp_path / "a.onnx", "--macs", "60%", "--save-scores", saved, "--dry-run").code == 0
    ended = call(RESNET, "--scores", saved, "--macs", "60%", "-q", "--dry-run", "-o", tmp_path / "b.onnx")
    assert ended.code == 0
    plans = [json.loads((tmp_path / f"{name}.plan.json").read_text()) for name in ("a", "b")]
    assert plans[0]["groups"] == plans[1]["groups"]
    ended = call(RESNET, "--scores", saved, "--macs", "60%", "--variant", "gap", "-o", tmp_path / "c.onnx")
    assert ended.code == 2
    assert ended.sentence == (
        "Settings of a method have no say where --scores brings the scores; leave one of the two out."
    )


def test_some_classes_alone_are_said_everywhere(tmp_path: Path) -> None:
    args = ("--classes", "7,1,4", "--test", TEST, "--macs", "50%", "--report", tmp_path / "r.html")
    ended = prune(tmp_path / "a.onnx", *args)
    assert ended.code == 0
    assert "Classes: 1, 4, 7; scores and accuracies are of these alone." in ended.stderr
    assert "Scores from 15 samples, measured on 136 others." in ended.stderr
    assert "top-1 among the chosen classes" in ended.stdout
    assert "Both models choose among 1, 4, 7 alone." in ended.stdout
    assert "4 (output 4)" in (tmp_path / "r.html").read_text()
    applied = call(
        "apply", RESNET, tmp_path / "a.plan.json", "--data", few(), "--test", TEST, "-o", tmp_path / "b.onnx", "--json"
    )
    assert json.loads(applied.stdout)["classes"] == {"1": 1, "4": 4, "7": 7}
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_trimmed_head_is_said_and_its_labels_are_written(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", "--classes", "7,1,4", "--trim-head", "--macs", "50%", "--test", TEST)
    assert ended.code == 0
    assert "widths in blocks of 8 (below that any); the classifier cut to 1, 4, 7." in ended.stdout
    assert f"Labels written to {tmp_path / 'a.labels.txt'}" in ended.stdout
    assert (tmp_path / "a.labels.txt").read_text() == "1\n4\n7\n"
    assert "frozen" not in ended.stdout
    applied = call(
        "apply", RESNET, tmp_path / "a.plan.json", "--data", few(), "--test", TEST, "-o", tmp_path / "b.onnx"
    )
    assert applied.code == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "b.labels.txt").read_text() == "1\n4\n7\n"


def test_the_limit_of_a_class_is_said(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", "--macs", "50%", "--max-class-drop", "10%")
    assert ended.code == 0
    assert "widths in blocks of 8 (below that any); no class to lose more than 10 points." in ended.stdout


def test_steps_are_said(tmp_path: Path) -> None:
    ended = prune(tmp_path / "a.onnx", "--macs", "50%", "--steps", "2")
    assert ended.code == 0
    assert "widths in blocks of 8 (below that any); chosen in 2 steps." in ended.stdout
    assert "Chosen in 2 of 2 steps, which left " in ended.stdout
