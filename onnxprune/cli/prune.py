"""`onnxprune MODEL --data PATH`: the main job."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import (
    FILE,
    allow_option,
    classes_option,
    data_options,
    model_argument,
    output_option,
    policy_option,
    preprocessing_options,
    quantize_options,
    round_option,
    run_options,
    seed_option,
    talk_options,
)
from onnxprune.cli.parameters import amount, multiple, points, setting, share
from onnxprune.cli.sections import Command, section, stack
from onnxprune.cli.shared import shared_settings
from onnxprune.cli.steering import read_steering, steering_options
from onnxprune.cli.training_options import named_training_option
from onnxprune.errors import InputError
from onnxprune.finetune.training.recipe import Recipe
from onnxprune.values.amount import BYTES, COUNTS, MILLISECONDS

_classes = section("Some of the classes")
_method = section("Method")
_budget = section("Budgets (all given must hold)")
_output = section("Output")

class_options = stack(
    classes_option(
        _classes,
        "that matter, such as cat,dog,frog: scores and recovery see their samples alone, and accuracy is measured on "
        "these, among these classes.",
    ),
    _classes(
        "--trim-head",
        is_flag=True,
        help="Cut the classifier's outputs to these classes too, in the model's order, and write MODEL.labels.txt.",
    ),
)

method_options = stack(
    _method("--method", default="entropy", show_default=True, metavar="NAME", help="See `onnxprune methods`."),
    _method(
        "--variant",
        type=click.Choice(["map", "gap"]),
        help="entropy: histogram of every image's map (map, the default) or of a class's spatial means (gap).",
    ),
    _method(
        "--vote", is_flag=True, help="entropy: prune what enough classes agree on, not what scores low on average."
    ),
    _method("--q", type=share, metavar="SHARE", help="entropy with --vote: share of the classes that have to agree."),
    _method(
        "--score",
        type=click.Choice(["forward", "gradient"]),
        help="class-aware: a channel matters for a class where it is active (forward, the default), or where the "
        "gradient of the loss reaches it (gradient, needs torch and labels).",
    ),
    _method(
        "--option",
        "settings",
        type=setting,
        multiple=True,
        metavar="NAME=VALUE",
        help="Any setting of the method; may be given several times.",
    ),
    _method(
        "--scores",
        type=FILE,
        metavar="FILE.npz",
        help="Take scores, or keep masks, from this file instead of computing them.",
    ),
)

recovery_option = section("Recovery (no training, no labels)")(
    "--recover",
    type=click.Choice(["none", "bias", "fold", "refit"]),
    default="refit",
    show_default=True,
    help="Give the cut model new weights in closed form: matched means and spreads (bias), removed channels written as "
    "sums of kept ones (fold), and every layer solved again after that (refit).",
)

_training = section("Training after the recovery (needs torch)")

training_options = stack(
    _training(
        "--finetune",
        type=click.IntRange(min=1),
        metavar="EPOCHS",
        help="Train the recovered model on the samples that the scores saw, the original as its teacher. "
        "`onnxprune finetune` has all settings.",
    ),
    *(named_training_option(name) for name in ("lr", "train", "augment", "device")),
)

budget_options = stack(
    _budget("--ratio", type=share, metavar="SHARE", help="Remove this share of the channels of every group."),
    _budget("--macs", type=share, metavar="SHARE", help="Leave at most this share of the multiply-adds, such as 50%."),
    _budget(
        "--params",
        type=amount(COUNTS),
        metavar="SHARE|N",
        help="Leave at most this many parameters: a share such as 40%, or a number such as 1.2M.",
    ),
    _budget(
        "--size",
        type=amount(BYTES),
        metavar="SHARE|BYTES",
        help="Make the file, data files included, no larger than this: a share such as 40%, or 2MB, 500KiB.",
    ),
    _budget(
        "--latency",
        type=amount(MILLISECONDS),
        metavar="SHARE|TIME",
        help="Take at most this long for one sample, in onnxruntime on this machine: a share such as 60%, or 4ms. The "
        "network's layers are timed for that, once.",
    ),
    _budget(
        "--latency-table",
        type=FILE,
        metavar="FILE.json",
        help="Go by the times of another device, see `onnxprune profile`.",
    ),
    _budget(
        "--max-drop",
        type=points,
        metavar="POINTS",
        help="Lose at most this many points of top-1 on held-out data, such as 1: alone, the plan with the fewest "
        "multiply-adds is searched for that does. Without any budget: 1.",
    ),
    _budget(
        "--max-drift",
        type=share,
        metavar="SHARE",
        help="The same for models and data without labels: change no output by more than this in the L2 norm, such as "
        "10%. Without any budget and labels: 10%.",
    ),
    _budget(
        "--alpha",
        type=multiple,
        metavar="NUMBER",
        help="Remove what scores below this multiple of the method's own threshold.",
    ),
    policy_option(_budget),
    _budget(
        "--max-class-drop",
        type=points,
        metavar="POINTS",
        help="Refuse a result in which any class loses more percentage points than this of its recall on the test "
        "images, such as 5; with --max-drop, on the held-out ones too.",
    ),
    round_option(_budget),
    _budget(
        "--steps",
        type=click.IntRange(min=1),
        default=1,
        metavar="N",
        show_default=True,
        help="Choose what goes in N steps, each after the first on the network as cut and recovered by then. What is "
        "finished is kept in the output with the ending .steps.json until the result is written.",
    ),
    _budget("--resume", is_flag=True, help="Go on from the last finished step of a run in --steps that was stopped."),
    allow_option,
    _budget("--force", is_flag=True, help="Write a poor result even though no budget asked for it."),
)

output_options = stack(
    output_option,
    _output("--plan", type=FILE, metavar="FILE", help="The plan. Default: the output with the ending .plan.json."),
    _output(
        "--save-scores",
        type=FILE,
        metavar="FILE.npz",
        help="Write the scores and the chosen keep masks to this file too.",
    ),
    _output("--report", type=FILE, metavar="FILE.html", help="Write the whole result as one HTML page too."),
    _output(
        "--pareto",
        type=FILE,
        metavar="PATH",
        help="Try budgets from mild to the least as well, and write the curve to PATH.csv, PATH.json and PATH.svg (a "
        "plot, which needs matplotlib).",
    ),
    _output("--dry-run", is_flag=True, help="Write the plan and stop; `onnxprune apply` replays it."),
    seed_option,
)


@click.command(
    cls=Command,
    examples=(
        "onnxprune model.onnx --data calib/ --method entropy",
        "onnxprune model.onnx --data calib/ --max-drop 0.5 --pareto curve",
        "onnxprune model.onnx --data calib/ --macs 50% -o small.onnx --report small.html",
    ),
    short_help="Prune a model (the word `prune` may be left out).",
)
@model_argument
@data_options
@class_options
@method_options
@budget_options
@steering_options
@recovery_option
@training_options
@quantize_options
@preprocessing_options
@output_options
@run_options
@talk_options
def prune(**flags: Any) -> None:
    """Prune the channels of an ONNX network by what they mean on sample data.

    The result is cut, checked against the masked original, given new weights that make up for the cut, measured, and
    only then written. Without a budget the most goes that costs at most 1 point of top-1 on held-out data.

    Exit codes: 0 done, 1 the request cannot be met, 2 bad input or usage, 3 the result failed its check.
    """
    from onnxprune.cli.console import open_voice
    from onnxprune.cli.outcome import deliver, report_of
    from onnxprune.cli.training import open_watch
    from onnxprune.pipeline.prune import run

    settings = read_settings(flags)
    with open_voice(flags) as voice, open_watch(flags, flags["finetune"] or 0) as watch:
        try:
            result = run(replace(settings, watch=watch), voice.meter, voice.tell, report_of(flags))
        except KeyboardInterrupt:
            if settings.journal is None or not settings.journal.exists():
                raise
            told = f"interrupted; the steps that were finished are in {settings.journal}, go on with --resume"
            raise KeyboardInterrupt(told) from None
    deliver(result, flags)


def read_settings(flags: Mapping[str, Any]) -> Any:
    """Return the `Settings` of the flags, paths checked.

    Raises:
        InputError: flags that contradict each other, an unknown method or setting, or paths that will not do.
    """
    from onnxprune.graph.storage.paths import check_input, check_outputs
    from onnxprune.selection.budget import Budget
    from onnxprune.selection.goal import Goal

    check_input(flags["model"])
    budget = Budget(flags["ratio"], flags["macs"], flags["alpha"], flags["params"], flags["size"], flags["latency"])
    settings = shared_settings(
        flags,
        plan_output=flags["plan"],
        method=flags["method"],
        options=read_options(flags),
        scores=flags["scores"],
        scores_output=flags["save_scores"],
        goal=Goal(budget, flags["round_to"], flags["policy"], read_steering(flags)),
        latency_table=flags["latency_table"],
        max_drop=flags["max_drop"],
        max_drift=flags["max_drift"],
        max_class_drop=flags["max_class_drop"],
        pareto=flags["pareto"],
        steps=flags["steps"],
        resume=flags["resume"],
        recovery=flags["recover"],
        recipe=read_recipe(flags),
        device=flags["device"],
        approximate=flags["allow"] == "approximate",
        trim_head=flags["trim_head"],
        test=flags["test"],
        force=flags["force"],
        dry_run=flags["dry_run"],
        batch_size=flags["batch_size"],
    )
    outputs = {
        "the model": settings.written,
        "the plan": settings.plan_written,
        "the labels": settings.labels_written,
        "the quantized model": settings.quantized_written,
        "the report": flags["report"],
        "the saved scores": settings.scores_output,
        **settings.curve_outputs,
        "the journal": settings.journal,
    }
    check_outputs(outputs, input_paths(flags))
    return settings


def read_recipe(flags: Mapping[str, Any]) -> Recipe | None:
    """Return how the recovered model is trained; None: not at all.

    Raises:
        InputError: settings of a training that was not asked for, or that make no sense.
    """
    given = {"rate": flags["lr"], "part": flags["train"], "augment": flags["augment"]}
    given = {name: value for name, value in given.items() if value is not None}
    if flags["finetune"] is None:
        if given or flags["device"] != "auto":
            raise InputError("--lr, --train, --augment and --device are of the training; ask for it with --finetune.")
        return None
    return Recipe(epochs=flags["finetune"], seed=flags["seed"], **given)


def input_paths(flags: Mapping[str, Any]) -> dict[str, Path | None]:
    """Return everything that is read, by what it is."""
    names = {"model": "the input model", "data": "the sample data", "test": "the test data", "labels": "the labels"}
    files = {**{what: flags[name] for name, what in names.items()}, "the scores": flags.get("scores")}
    return {**files, "the steering": flags.get("steer"), "the latency table": flags.get("latency_table")}


def read_options(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the method's settings that were given, with the types of their defaults.

    Raises:
        InputError: an unknown method, `--q` without a vote, or a value of another type.
    """
    from onnxprune.importance.method import find_method

    method = find_method(flags["method"])
    given: dict[str, Any] = {}
    for name, text in flags["settings"]:
        option = method.options.get(name)
        given[name] = text if option is None else _typed(name, text, option.default)
    if flags["variant"] is not None:
        given["variant"] = flags["variant"]
    if flags["score"] is not None:
        given["score"] = flags["score"]
    if flags["vote"]:
        given["rule"] = "vote"
    if flags["q"] is not None:
        if given.get("rule") != "vote":
            raise InputError("--q counts only where classes vote; add --vote or leave it out.")
        given["q"] = flags["q"]
    if given and flags["scores"] is not None:
        raise InputError("Settings of a method have no say where --scores brings the scores; leave one of the two out.")
    return given


def _typed(name: str, text: str, default: Any) -> Any:
    """Return `text` as the type of `default`."""
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if isinstance(default, int | float):
            return type(default)(text)
    except (KeyError, ValueError):
        kind = "true or false" if isinstance(default, bool) else "a number"
        raise InputError(f"--option {name}={text} has to be {kind}, such as {name}={default}.") from None
    return text
