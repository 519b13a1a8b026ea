import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from refusals import refused

import onnxprune
from onnxprune.cli.options import Talk, job
from onnxprune.cli.program import program
from onnxprune.errors import InputError
from onnxprune.importance.method import find_method
from onnxprune.pipeline.config.base import flags_of, keywords_of, option, options_of, read_fields
from onnxprune.pipeline.config.file import joined, read_file
from onnxprune.pipeline.config.groups import BUDGET, budget_names, policy_names, recovery_names
from onnxprune.pipeline.config.jobs import IterateConfig, PruneConfig
from onnxprune.recovery.recovery import NONE, RECOVERIES
from onnxprune.selection.budget import BUDGETS
from onnxprune.selection.policy import POLICIES
from onnxprune.selection.steering import Steering
from onnxprune.values.amount import Amount
from onnxprune.values.preprocess import PRESETS, Preprocess

MODEL = Path("model.onnx")


def test_text_is_read_as_on_the_shell_and_numbers_are_taken_as_they_are() -> None:
    shell = PruneConfig("model.onnx", macs="50%", max_drop="1", max_class_drop="5%", params="40%", seed="3", steps="2")
    python = PruneConfig(MODEL, macs=0.5, max_drop=0.01, max_class_drop=0.05, params=0.4, seed=3, steps=2)
    assert attrs.evolve(shell, params=None) == attrs.evolve(python, params=None)
    assert shell.params == Amount(0.4, True, "40%")
    assert IterateConfig(MODEL, data="d", floor="3").floor == IterateConfig(MODEL, data="d", floor=0.03).floor == 0.03


def test_lists_and_tables_are_given_as_either_world_writes_them() -> None:
    shell = PruneConfig(
        MODEL, ratio_for=["a*=70%"], options=["q=0.5"], classes="cat,dog", keep=("stem*",), resize="8,9"
    )
    python = PruneConfig(
        MODEL, ratio_for={"a*": 0.7}, options={"q": "0.5"}, classes=["cat", "dog"], keep="stem*", resize=(8, 9)
    )
    assert shell == python


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"macs": "half"}, "macs='half' is no percentage"),
        ({"macs": 50}, "macs=50 is not between 0% and 100%; did you mean 50%?"),
        ({"max_drop": 5}, "max_drop=5 is no share from 0 to 1; write 5 points as 0.05"),
        ({"params": "lots"}, "params='lots' is no budget"),
        ({"save_scores": 3}, "save_scores=3 will not do"),
        ({"recovery": "magic"}, "recovery='magic' is not one of none, bias, fold, match, refit"),
        ({"force": "yes"}, "force='yes' is neither true nor false"),
        ({"lr": 0.1}, "lr=, train=, augment= and device= are of the training; ask for it with finetune="),
        ({"preprocess": "auto", "mean": 0.5}, "preprocess=auto finds mean= itself"),
        ({"scores": "s.npz", "options": {"q": 1}}, "no say where scores= brings the scores"),
    ],
)
def test_python_hears_of_keywords(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        onnxprune.prune(MODEL, **wrong)  # type: ignore[arg-type]
    assert said.lower() in str(caught.value).lower()


def test_single_layers_are_said_in_one_value_or_by_name() -> None:
    by_name = PruneConfig(MODEL, keep=["a"], min_keep=0.3, ratio_for={"b": 0.5})
    assert by_name.steering == Steering(0.3, ("a",), (("b", 0.5),))
    assert PruneConfig(MODEL, steering=by_name.steering).steering == by_name.steering
    assert PruneConfig(MODEL, steering=Steering(keep=("x",)), keep="a").steering.keep == ("x", "a")


def test_pixels() -> None:
    assert PruneConfig(MODEL).scaling is None
    assert PruneConfig(MODEL, preprocess="unit").scaling == "unit"
    own = PruneConfig(MODEL, preprocess=Preprocess(scale=1.0), mean="1,2,3")
    assert (own.pixels, own.scaling) == (Preprocess(scale=1.0, mean=(1.0, 2.0, 3.0)), "explicit")
    assert PruneConfig(MODEL, preprocess="imagenet", scale=1).pixels == imagenet(scale=1.0)


def imagenet(scale: float) -> Preprocess:
    return Preprocess(scale=scale, mean=PRESETS["imagenet"].mean, std=PRESETS["imagenet"].std)


def test_the_function_has_the_signature_and_the_help_of_the_configuration() -> None:
    taken = inspect.signature(onnxprune.prune).parameters
    keywords = {field.alias for field in attrs.fields(PruneConfig)}
    assert set(taken) == keywords | {"track"}
    assert list(taken)[:3] == ["model", "data", "method"]
    assert {"save_scores", "steering", "preprocess", "recovery", "round_to"} <= set(taken)
    doc = inspect.getdoc(onnxprune.prune) or ""
    assert all(f"{name}: " in doc for name in taken)
    assert "--data" not in doc, "options of the command line are called as in Python"
    with pytest.raises(TypeError, match=r"prune\(\) got an unexpected keyword argument 'mac'"):
        onnxprune.prune(MODEL, mac=0.5)  # type: ignore[call-arg]


def test_a_field_that_is_added_appears_everywhere(tmp_path: Path) -> None:
    @attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
    class More(PruneConfig):
        depth: int = attrs.field(
            default=1, converter=int, metadata=option("How deep it goes.", BUDGET, metavar="N", default="1")
        )

    heard: list[int] = []

    @job(More, examples=())
    def work(config: More, talk: Talk) -> None:
        heard.append(config.depth)

    model, file = tmp_path / "m.onnx", tmp_path / "c.toml"
    model.touch()
    file.write_text("depth = 5\n")
    assert "--depth N" in CliRunner().invoke(work, ["--help"]).stdout
    CliRunner().invoke(work, [str(model), "--depth", "3"], catch_exceptions=False)
    CliRunner().invoke(work, [str(model), "--config", str(file)], catch_exceptions=False)
    CliRunner().invoke(work, [str(model), "--config", str(file), "--depth", "7"], catch_exceptions=False)
    assert heard == [3, 5, 7]

    @keywords_of(More)
    def call(config: More) -> int:
        """{arguments}"""
        return config.depth

    assert call(model, depth=4) == 4
    assert "depth: How deep it goes." in (call.__doc__ or "")


def test_a_file_holds_everything(tmp_path: Path) -> None:
    file = tmp_path / "all.toml"
    file.write_text(
        'model = "m.onnx"\nmacs = "50%"\nmax_drop = "1"\nrecover = "fold"\nno-accuracy-check = true\n'
        'allow = "approximate"\nclasses = ["a", "b"]\nkeep = ["x*"]\n[ratio-for]\n"y*" = 0.5\n[option]\nq = 0.5\n'
    )
    read = read_file(file, PruneConfig)
    config = PruneConfig(**joined(read, {"macs": "40%", "keep": ("z",), "ratio_for": ("w=10%",)}, PruneConfig))
    assert config == PruneConfig(
        "m.onnx", macs=0.4, max_drop=0.01, recovery="fold", check_accuracy=False, allow="approximate",
        classes=("a", "b"), keep=("x*", "z"), ratio_for={"y*": 0.5, "w": 0.1}, options={"q": 0.5},
    )  # fmt: skip


def _made(**settings: Any) -> PruneConfig:
    return PruneConfig("m.onnx", **settings)


@pytest.mark.parametrize("number", ["0", "1", "0.5", "3"])
def test_a_number_in_a_file_is_what_it_is_on_the_shell(tmp_path: Path, number: str) -> None:
    """`max-drop = 1` is one point; in Python, 1 is the whole."""
    file = tmp_path / "a.toml"
    agreed = set()
    for name, (field, about) in options_of(PruneConfig).items():
        if about.many or name == "model":
            continue
        file.write_text(f"{flags_of(field)[-1].removeprefix('--')} = {number}\n")
        try:
            (read,) = read_file(file, PruneConfig).values()
            found, wanted = (_made(**{field.alias or name: value}) for value in (read, number))
        except InputError:
            continue
        assert found == wanted, name
        agreed.add(name)
    assert {"max_drop", "max_class_drop"} <= agreed


def test_a_key_that_is_no_option_is_named_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("max-drp = 1\n")
    with refused("unknown-name", "'max-drp'", "did you mean 'max-drop'?"):
        read_file(file, PruneConfig)


def test_policies_recoveries_and_budgets_are_called_as_their_files() -> None:
    assert policy_names() == tuple(POLICIES)
    assert budget_names() == tuple(BUDGETS)
    assert recovery_names() == (NONE, *RECOVERIES)


def test_text_of_a_method_is_read_by_its_settings() -> None:
    entropy = find_method("entropy")
    settled = entropy.settle({"q": "50%", "rule": "vote", "variant": "map"})
    assert (settled["q"], settled["rule"]) == (0.5, "vote")
    assert entropy.spelled("vote") == ("rule", "vote")
    assert entropy.spelled("q") == ("q", None)
    assert entropy.spelled("depth") is None
    with refused("missing-option", "q of method entropy", "--vote"):
        entropy.settle({"q": 0.5})


def test_help_of_the_program_and_of_the_main_job_take_no_numpy() -> None:
    code = (
        "import sys; from onnxprune.cli.program import program\n"
        "try: program.main(sys.argv[1:])\n"
        "except SystemExit: print(*({'numpy', 'onnx', 'rich', 'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    for args in (("--help",), ("prune", "--help"), ("iterate", "--help")):
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
        assert "Usage: " in done.stdout
        assert done.stderr.strip() == ""


def test_the_main_help_fits_on_two_screens() -> None:
    from onnxprune.cli.prune import prune

    runner = CliRunner()
    short = runner.invoke(prune, ["--help"], terminal_width=100).stdout
    assert len(short.splitlines()) <= 100
    whole = runner.invoke(prune, ["--help-all"]).stdout
    assert "--save-scores" in whole
    assert "--save-scores" not in short
    assert set(options_of(PruneConfig)) > {"model", "policy"}


def test_settings_of_a_method_are_keywords_and_keys(tmp_path: Path) -> None:
    called: list[PruneConfig] = []

    @keywords_of(PruneConfig)
    def call(config: PruneConfig) -> None:
        called.append(config)

    call(MODEL, vote=True, q="50%", options={"depth": 1})  # type: ignore[call-arg]
    assert called[0].options == {"rule": "vote", "q": "50%", "depth": 1}
    call(MODEL, vote=False)  # type: ignore[call-arg]
    assert called[1].options == {}
    file = tmp_path / "o.toml"
    file.write_text('vote = true\nq = "50%"\n')
    assert PruneConfig(MODEL, **read_file(file, PruneConfig)).options == {"rule": "vote", "q": "50%"}
    with refused("bad-value", "'vote'", "3"):
        call(MODEL, vote=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"call\(\) got an unexpected keyword argument 'voted'"):
        call(MODEL, voted=True)  # type: ignore[call-arg]


@pytest.mark.parametrize("path", ["", ".", "/", ".."])
def test_files_have_names(path: str) -> None:
    for field in ("model", "output", "plan_output", "pareto", "report", "labels"):
        with refused("bad-value", f"{field}="):
            PruneConfig(**{"model": MODEL, field: path})  # type: ignore[arg-type]
    assert PruneConfig(MODEL, data=".").data == Path()


def test_a_long_value_is_not_quoted_whole() -> None:
    with pytest.raises(InputError) as caught:
        PruneConfig(MODEL, macs="x" * 100_000)
    assert len(str(caught.value)) < 400


def test_the_old_name_of_the_configuration_file_is_said_to_be_one(tmp_path: Path) -> None:
    file = tmp_path / "o.toml"
    file.write_text('min-keep = "150%"\n')
    run = CliRunner().invoke(program, [str(MODEL), "--steer", str(file)])
    assert "--steer is deprecated; use --config" in run.stderr
    run = CliRunner().invoke(program, [str(MODEL), "--steer", str(file), "--config", str(file)])
    assert run.exit_code == 2
    assert "give one of the two" in run.stderr
