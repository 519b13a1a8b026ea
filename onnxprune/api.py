"""The public Python API: `prune` in one call, and the stages for those who want to stand between them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxprune.data import open_data
from onnxprune.errors import InputError
from onnxprune.graph.loaded import Model, load
from onnxprune.pipeline.config import Settings
from onnxprune.pipeline.execution.cut import apply, verify
from onnxprune.pipeline.execution.recover import recover
from onnxprune.pipeline.execution.store import save
from onnxprune.pipeline.opening import inspect
from onnxprune.pipeline.planning.plans import plan
from onnxprune.pipeline.planning.scoring import collect, score
from onnxprune.pipeline.prune import run
from onnxprune.pipeline.result import Result
from onnxprune.selection.budget import Budget
from onnxprune.selection.goal import Goal
from onnxprune.selection.steering import Steering
from onnxprune.values.amount import BYTES, COUNTS, MILLISECONDS, Amount, read_amount
from onnxprune.values.plan import Plan, read_plan
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.progress import Track, silent

__all__ = [
    "Budget",
    "Model",
    "Plan",
    "Result",
    "Steering",
    "apply",
    "collect",
    "inspect",
    "load",
    "load_plan",
    "open_data",
    "plan",
    "prune",
    "recover",
    "save",
    "score",
    "verify",
]


def prune(
    model: Path | str,
    data: Path | str | None = None,
    method: str = "entropy",
    *,
    ratio: float | None = None,
    macs: float | None = None,
    params: Amount | float | str | None = None,
    size: Amount | float | str | None = None,
    latency: Amount | float | str | None = None,
    latency_table: Path | str | None = None,
    alpha: float | None = None,
    policy: str | None = None,
    steering: Steering | None = None,
    max_drop: float | None = None,
    max_drift: float | None = None,
    max_class_drop: float | None = None,
    pareto: Path | str | None = None,
    output: Path | str | None = None,
    test: Path | str | None = None,
    labels: Path | str | None = None,
    classes: Sequence[str] = (),
    trim_head: bool = False,
    preprocess: str | Preprocess | None = None,
    round_to: int | None = None,
    steps: int = 1,
    resume: bool = False,
    recovery: str = "refit",
    quantize: str | None = None,
    approximate: bool = False,
    holdout: float = 0.2,
    options: Mapping[str, Any] | None = None,
    scores: Path | str | None = None,
    save_scores: Path | str | None = None,
    check_accuracy: bool = True,
    force: bool = False,
    dry_run: bool = False,
    seed: int = 0,
    track: Track = silent,
) -> Result:
    """Prune `model` by what its channels mean on `data`, check the result, and write it.

    Args:
        model: the .onnx file; it is never changed.
        data: a folder with one sub-folder per class, a folder of images, or an .npz with x and y; None where the method
            needs none (nothing is measured then).
        method: importance method, see `onnxprune methods`.
        ratio: share of the channels of every group to remove.
        macs: share of the multiply-adds that may be left, such as 0.5.
        params: parameters that may be left: a share such as 0.4 or "40%", or a number such as "1.2M".
        size: bytes that the file may have, data files included: a share, or such as "2MB" or "500KiB".
        latency: that one sample may take in onnxruntime on this machine: a share such as 0.6 or "60%", or "4ms".
        latency_table: a file of times of another device, see `onnxprune profile`, that the latency follows from.
        alpha: threshold of the method's own rule, in multiples of the rule's threshold.
        policy: how the budget is shared out over the groups (uniform, global, threshold, greedy, loss,
            latency, sensitivity); None: as the method says.
        steering: what is said of single groups: which stay whole, which lose a share of their own.
        max_drop: the most that may be lost of top-1 on held-out data, as a share (0.01: 1 point): alone, the plan with
            the fewest multiply-adds is searched for that holds it; with budgets, the plan that they lead to has to.
            Where nothing is asked for, this is: 0.01, or without labels a `max_drift` of 0.1.
        max_drift: the same for the change of the output that changes most, in the L2 norm; it needs no labels.
        max_class_drop: the most that any class may lose of its recall on the test images, as a share (0.05: 5 points);
            a result that loses more is refused, and plans that a search tries have to hold it too.
        pareto: where the curve of plans from mild to the least goes, without the endings .csv, .json and .svg.
        output: where the pruned model goes; default: model.pruned.onnx beside the model. The plan goes beside it.
        test: data to measure accuracy on; else `holdout` of `data`.
        labels: file of class names in the order of the model's outputs; default: sorted folder names.
        classes: names (or numbers) of the classes that scores, recovery and accuracy go by; none: all.
        trim_head: cut the classifier's outputs to these classes, and write their names beside the model.
        preprocess: a preset's name, `auto`, a `Preprocess`, or None (auto for labelled images).
        round_to: block that widths are rounded to; 1 switches rounding off; None: that of this machine's kernels.
        steps: in how many steps what goes is chosen, each after the first on the recovered network.
        resume: go on from the last finished step of a run in steps that was stopped, given all that it was begun with.
        recovery: how the weights are recovered in closed form after the cut: none, bias, fold or refit.
        quantize: int8 writes a quantized model beside the pruned one as well; where that fails after all, the result's
            `failure` says why.
        approximate: cut channels that a normalisation runs over as well (the result is not that of zeroing them).
        holdout: share of `data` kept for measuring.
        options: settings of the method.
        scores: an .npz file of scores, or of keep masks, that stands in for the method.
        save_scores: where the scores and the chosen keep masks go as well.
        check_accuracy: refuse an original model that is near chance on `data`.
        force: write a poor result even though no budget asked for it.
        dry_run: write the plan and stop.
        seed: of everything random.
        track: receives progress.

    Raises:
        InputError, UnreachableError, VerificationError: see `onnxprune.errors`; nothing is written then.
    """
    explicit = isinstance(preprocess, Preprocess)
    budget = Budget(
        ratio,
        macs,
        alpha,
        _amount("params", params, COUNTS),
        _amount("size", size, BYTES),
        _amount("latency", latency, MILLISECONDS),
    )
    settings = Settings(
        model=Path(model),
        data=None if data is None else Path(data),
        output=None if output is None else Path(output),
        method=method,
        options=options or {},
        scores=None if scores is None else Path(scores),
        scores_output=None if save_scores is None else Path(save_scores),
        goal=Goal(budget, round_to, policy, steering or Steering()),
        latency_table=None if latency_table is None else Path(latency_table),
        max_drop=max_drop,
        max_drift=max_drift,
        max_class_drop=max_class_drop,
        pareto=None if pareto is None else Path(pareto),
        steps=steps,
        resume=resume,
        recovery=recovery,
        quantize=quantize,
        approximate=approximate,
        preprocess=preprocess if isinstance(preprocess, Preprocess) else Preprocess(),
        scaling="explicit" if explicit else preprocess if isinstance(preprocess, str) else None,
        labels=None if labels is None else Path(labels),
        classes=tuple(classes),
        trim_head=trim_head,
        test=None if test is None else Path(test),
        holdout=holdout,
        check_accuracy=check_accuracy,
        force=force,
        dry_run=dry_run,
        seed=seed,
    )
    return run(settings, track)


def _amount(name: str, value: Amount | float | str | None, units: Mapping[str, float]) -> Amount | None:
    try:
        return None if value is None else read_amount(value, units)
    except ValueError as error:
        raise InputError(f"{name}={value!r} is no budget ({error}).") from None


def load_plan(path: Path | str) -> Plan:
    """Read a plan file.

    Raises:
        InputError: it cannot be read, or is no plan that this version understands.
    """
    path = Path(path)
    try:
        return read_plan(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise InputError(f"No such plan: {path}; make one with --dry-run.") from None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} is not a plan; make one with --dry-run.") from None
