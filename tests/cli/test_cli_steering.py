import json
from pathlib import Path
from typing import Any

import pytest
from places import RESNET
from program import Ended, call, prune

STEM = "/stem_conv/Conv_output_0"
INNER = "/stage1/stage1.0/conv1/Conv_output_0"


def steered(folder: Path, *args: Any) -> tuple[Ended, dict[str, Any]]:
    ended = prune(folder / "a.onnx", "--method", "l1", "--recover", "none", *args)
    assert ended.code == 0, ended.stderr
    return ended, json.loads((folder / "a.plan.json").read_text())


def test_layers_stay_whole_and_lose_a_share_of_their_own(tmp_path: Path) -> None:
    share = "*/stage2.0/conv1/*=75%"
    ended, plan = steered(tmp_path, "--macs", "60%", "--keep", "stem*", "--ratio-for", share)
    assert plan["groups"][STEM]["kept"] == plan["groups"][STEM]["size"]
    inner = plan["groups"]["/stage2/stage2.0/conv1/Conv_output_0"]
    assert (inner["size"], inner["kept"]) == (48, 16), "12 channels are half way between two blocks: ties go up"
    assert plan["request"]["keep"] == ["stem*"]
    assert plan["request"]["ratio_for"] == {"*/stage2.0/conv1/*": 0.75}
    assert plan["reached"]["macs"] <= 0.6
    assert "left whole: stem*" in ended.stdout
    assert "75.0 % of the channels of */stage2.0/conv1/* removed" in ended.stdout


def test_a_share_of_their_own_alone_leaves_all_else_as_it_is(tmp_path: Path) -> None:
    _, plan = steered(tmp_path, "--ratio-for", "*/stage1.0/conv1/*=50%")
    cut = {name for name, group in plan["groups"].items() if group["kept"] < group["size"]}
    assert cut == {INNER}
    assert plan["groups"][INNER]["kept"] == 16


def test_a_file_steers_and_flags_add_to_it(tmp_path: Path) -> None:
    file = tmp_path / "steer.toml"
    file.write_text('min-keep = 0.5\nkeep = ["stem*"]\n[ratio-for]\n"*/stage1.0/conv1/*" = 0.25\n')
    _, plan = steered(tmp_path, "--ratio", "90%", "--steer", file, "--keep", "*/stage2.0/conv1/*")
    kept = {name: group["kept"] / group["size"] for name, group in plan["groups"].items()}
    assert kept[STEM] == kept["/stage2/stage2.0/conv1/Conv_output_0"] == 1
    assert kept[INNER] == 0.75
    assert min(kept.values()) >= 0.5
    assert plan["request"]["min_keep"] == 0.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("keep = 3", "keep = 3 is no list of patterns"),
        ("keep = [3]", "is no list of patterns"),
        ('min-keep = "half"', "min-keep = 'half' is no percentage"),
        ("ratio-for = 3", "ratio-for = 3 has another form"),
        ('[ratio-for]\na = "x"', "ratio-for = 'x' is no percentage"),
        ("kep = []", "says 'kep', which is no option; did you mean 'keep'?"),
        ("= 3", "cannot be read as TOML"),
        (None, "There is no file"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "steer.toml"
    if content is not None:
        file.write_text(content)
    ended = prune(tmp_path / "a.onnx", "--macs", "60%", "--steer", file)
    assert ended.code == 2
    assert said in ended.sentence


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--keep", "sterm*"), 2, "'sterm*' fits no layer or weight of this model"),
        (("--ratio-for", "stem"), 2, "write it as 'layer3.*=70%'"),
        (("--ratio-for", "stem*=half"), 2, "is no percentage"),
        (("--macs", "20%", "--keep", "*"), 1, "cannot be met: with every group at its floor 100.0 % are left"),
        (("--macs", "20%", "--min-keep", "90%"), 1, "cannot be met"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(tmp_path: Path, flags: tuple[str, ...], code: int, said: str) -> None:
    ended = prune(tmp_path / "a.onnx", *flags)
    assert ended.code == code
    assert said in ended.stderr
    assert "Scores from" not in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("policy", ["uniform", "global", "loss", "sensitivity"])
def test_a_policy_shares_the_budget_out(tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path / "cache"))
    ended, plan = steered(tmp_path, "--macs", "50%", "--round-to", "1", "--policy", policy)
    shares = [group["kept"] / group["size"] for group in plan["groups"].values()]
    assert plan["reached"]["macs"] <= 0.5
    assert plan["request"]["policy"] == policy
    assert f"policy {policy}" in ended.stdout
    assert (max(shares) - min(shares) < 0.05) == (policy == "uniform")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--policy", "best"), "There is no policy 'best'; the known ones are"),
        (("--policy", "greedy"), "goes by gains that this method does not give"),
        (("--policy", "threshold"), "This method has no threshold of its own"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    ended = prune(tmp_path / "a.onnx", "--method", "l1", "--macs", "50%", "--recover", "none", *flags)
    assert ended.code == 2
    assert said in ended.sentence
    assert not list(tmp_path.iterdir())


def test_losses_take_data(tmp_path: Path) -> None:
    args = ("--method", "l1", "--macs", "50%", "-o", tmp_path / "a.onnx")
    assert call(RESNET, *args).code == 0
    ended = call(RESNET, *args, "--policy", "loss")
    assert ended.code == 2
    assert "--policy loss takes data to see what the next layers lose" in ended.sentence


def test_a_file_holds_any_option_and_the_command_line_goes_before_it(tmp_path: Path) -> None:
    file = tmp_path / "all.toml"
    file.write_text('macs = "20%"\nmethod = "l1"\nround_to = 1\nrecover = "none"\nsave-scores = 3\n')
    ended = prune(tmp_path / "a.onnx", "--config", file, "--macs", "60%")
    assert ended.code == 2
    assert f"'{file}': save-scores = 3 will not do" in ended.sentence
    file.write_text('macs = "20%"\nmethod = "l1"\nround_to = 1\nrecover = "none"\n')
    assert prune(tmp_path / "a.onnx", "--config", file, "--macs", "60%").code == 0
    request = json.loads((tmp_path / "a.plan.json").read_text())["request"]
    assert (request["macs"], request["round_to"]) == (0.6, 1)
    assert prune(file, "--config", file).sentence.startswith("The model would overwrite the configuration")


ENTROPY = ("--method", "entropy", "--variant", "map")


@pytest.mark.parametrize("spelled", [("--vote", "--q", "50%"), ("--rule=vote", "--q=0.5"), ("--option", "rule=vote")])
def test_settings_of_the_method_are_options(tmp_path: Path, spelled: tuple[str, ...]) -> None:
    ended = prune(tmp_path / "a.onnx", "--macs", "60%", "--recover", "none", "--dry-run", *ENTROPY, *spelled)
    assert ended.code == 0, ended.stderr
    settings = json.loads((tmp_path / "a.plan.json").read_text())["options"]
    assert settings["rule"] == "vote"
    assert settings["q"] == (1.0 if len(spelled) == 2 and spelled[0] == "--option" else 0.5)


def test_one_method_is_shown_with_its_settings() -> None:
    shown = call("methods", "entropy").stdout
    assert "option q:" in shown
    assert "--vote" in shown
    assert "class-aware" not in shown
    assert "Unknown method 'magic'" in call("methods", "magic").sentence
