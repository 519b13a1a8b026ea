"""Some of the classes alone: what scores, recovery and accuracy see, and that the plan remembers it."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from places import RESNET, SAMPLES
from refusals import refused

import onnxprune
from onnxprune.errors import Code
from onnxprune.graph.loaded import load
from onnxprune.pipeline import opening
from onnxprune.pipeline.apply import apply_plan as replay
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.samples import Samples, open_samples
from onnxprune.recovery.run import recover_steps

CHOSEN = ("7", "1", "4")


def pruned(
    data: Path, output: Path, classes: tuple[str, ...] = CHOSEN, method: str = "catro", **more: Any
) -> onnxprune.Result:
    return onnxprune.prune(
        RESNET,
        data,
        method,
        macs=0.04,
        round_to=1,
        classes=classes,
        output=output,
        **more,
        test=SAMPLES / "test",
        preprocess="unit",
    )


@pytest.fixture(scope="module")
def result(few: Path, tmp_path_factory: pytest.TempPathFactory) -> onnxprune.Result:
    """The resnet pruned for three classes."""
    return pruned(few, tmp_path_factory.mktemp("classes") / "out.onnx")


def test_scores_and_accuracy_are_of_these_classes(result: onnxprune.Result) -> None:
    assert result.data is not None
    assert result.data.calibration == 24
    assert result.plan.classes == {"1": 1, "4": 4, "7": 7}
    assert (result.plan.data["images"], result.plan.data["classes"]) == (24, 3)
    assert result.quality is not None
    assert result.quality.before is not None
    assert result.quality.before.classes == 3
    assert result.quality.samples == 136
    assert result.quality.among == ("1", "4", "7")
    assert sorted(row.name for row in result.quality.classes) == ["1", "4", "7"]
    assert result.quality.to_json()["among"] == ["1", "4", "7"]
    assert result.to_json()["classes"] == {"1": 1, "4": 4, "7": 7}


def test_only_recovery_depends_on_the_other_classes(few: Path, result: onnxprune.Result, tmp_path: Path) -> None:
    """Other images in the folders of all other classes give the same scores and the same cut."""
    other = tmp_path / "other"
    for folder in few.iterdir():
        shutil.copytree(folder if folder.name in CHOSEN else few / "8", other / folder.name)
    cut = [pruned(data, tmp_path / f"{data.name}.onnx", recovery="none") for data in (few, other)]
    assert (tmp_path / f"{few.name}.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()
    assert cut[0].plan == cut[1].plan
    again = pruned(other, tmp_path / "out.onnx")
    assert again.plan.groups == result.plan.groups
    whole = pruned(few, tmp_path / "whole.onnx", classes=())
    assert whole.plan.groups != result.plan.groups
    assert (whole.plan.classes, whole.quality and whole.quality.among) == ({}, ())


def test_samples_of_other_classes_take_part_where_they_help_and_judge_nothing(
    few: Path, result: onnxprune.Result, tmp_path: Path
) -> None:
    samples = opened(few, classes=CHOSEN, test=SAMPLES / "test")
    assert samples.others is not None
    assert (len(samples.others), samples.summary.others) == (56, 56)
    assert len(samples.fit) + len(samples.judge) == len(samples.calibration) == 24
    alone = tmp_path / "alone"
    for name in CHOSEN:
        shutil.copytree(few / name, alone / name)
    without = pruned(alone, tmp_path / "alone.onnx", labels=labels_file(tmp_path))
    assert without.data is not None
    assert without.data.others == 0
    both = [next(note for note in found.notes if note.startswith("Recovery ")) for found in (result, without)]
    errors = [float(note.split(" with ")[1].split(" of the outputs")[0]) for note in both]
    taken = "56 of them of other classes" in both[0]
    assert errors[0] < errors[1] if taken else errors[0] == errors[1]
    assert result.plan.recovery["samples"] == len(samples.fit) + (56 if taken else 0)
    assert opened(few).others is None
    assert opened(few, classes=CHOSEN, recovery="none").others is None
    assert opened(few, classes=tuple("0123456789")).others is None


@pytest.mark.parametrize("helps", [True, False])
def test_what_leaves_less_error_on_the_samples_that_judge_goes_on(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helps: bool
) -> None:
    """A recovery from other classes too that is said to be better or worse by far is taken, or not."""
    whole = recover_steps

    def told(graph: Any, cut: Any, fit: Any, *args: Any, **more: Any) -> Any:
        for step in whole(graph, cut, fit, *args, **more):
            many = len(fit) > 24
            yield replace(step, error=step.error * (0.5 if helps else 2.0) if many else step.error)

    monkeypatch.setattr("onnxprune.pipeline.stages.recover_steps", told)
    found = pruned(few, tmp_path / "out.onnx")
    note = next(note for note in found.notes if note.startswith("Recovery "))
    assert ("of other classes" in note) is helps


def test_classes_of_a_trimmed_model_are_told_apart_by_its_own_names(few: Path, tmp_path: Path) -> None:
    """Its outputs are in an order of their own, not in that of the folders."""
    words = {"0": "zero", "1": "one", "2": "two", "3": "three"}
    folder = tmp_path / "words"
    for digit, word in words.items():
        shutil.copytree(few / digit, folder / word)
    (tmp_path / "labels.txt").write_text("\n".join([*words.values(), *"456789"]))
    trimmed = tmp_path / "trimmed.onnx"
    onnxprune.prune(
        RESNET, folder, "l1", macs=0.7, classes=tuple(words.values()), trim_head=True, labels=tmp_path / "labels.txt",
        output=trimmed, preprocess="unit",
    )  # fmt: skip
    config = PruneConfig(trimmed, data=folder, classes=("zero", "one"), preprocess="unit", macs=0.6)
    samples = open_samples(config, load(trimmed))
    assert samples.others is not None
    assert len(samples.others) == 16
    mine = np.concatenate([batch.feeds["image"] for batch in samples.whole.batches(8)])
    others = np.concatenate([batch.feeds["image"] for batch in samples.others.batches(8)])
    assert not any((image == other).all() for image in mine for other in others)


def test_where_other_classes_cannot_be_read_there_are_none_and_it_is_said(few: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(few, other)
    (other / "8").rename(other / "eight")
    samples = opened(other, classes=CHOSEN, labels=labels_file(tmp_path))
    assert samples.others is None
    assert "eight" in samples.without
    found = pruned(other, tmp_path / "out.onnx", labels=labels_file(tmp_path))
    assert any("other classes took no part" in note and "eight" in note for note in found.notes)


def test_applying_a_plan_with_samples_of_other_classes_that_differ_is_said(
    few: Path, result: onnxprune.Result, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(few, other)
    next((other / "8").iterdir()).unlink()
    assert result.plan_output is not None
    chosen = onnxprune.load_plan(result.plan_output)
    said = []
    for data in (few, other):
        output = tmp_path / f"{data.name}.onnx"
        config = PruneConfig(RESNET, data=data, test=SAMPLES / "test", output=output, preprocess="unit")
        said.append(any("with other data than the plan's" in note for note in replay(config, chosen).notes))
    assert said == [False, True]


def labels_file(folder: Path) -> Path:
    (folder / "labels.txt").write_text("\n".join("0123456789"))
    return folder / "labels.txt"


def test_there_are_only_so_many_others(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.pipeline.samples.ENOUGH", 38)
    samples = opened(few, classes=CHOSEN)
    assert samples.others is not None
    assert samples.others.labels is not None
    assert np.bincount(samples.others.labels).tolist() == [2, 0, 2, 2, 0, 2, 2, 0, 2, 2]
    monkeypatch.setattr("onnxprune.pipeline.samples.ENOUGH", 24)
    assert opened(few, classes=CHOSEN).others is None


def test_the_plan_repeats_it(few: Path, result: onnxprune.Result, tmp_path: Path) -> None:
    assert result.output is not None
    assert result.plan_output is not None
    chosen = onnxprune.load_plan(result.plan_output)
    settings = PruneConfig(RESNET, data=few, test=SAMPLES / "test", output=tmp_path / "out.onnx", preprocess="unit")
    again = replay(settings, chosen)
    assert (tmp_path / "out.onnx").read_bytes() == result.output.read_bytes()
    assert again.quality == result.quality


def test_data_that_numbers_the_classes_otherwise_is_refused(
    few: Path, result: onnxprune.Result, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join("0321456789"))
    settings = PruneConfig(RESNET, data=few, output=tmp_path / "out.onnx", preprocess="unit", labels=names)
    with refused("bad-labels", "1 (1), 4 (4), 7 (7)", "3 (1), 4"):
        replay(evolve(settings, check_accuracy=False), result.plan)


def test_classes_without_data_are_refused_whatever_the_method_needs(tmp_path: Path) -> None:
    with refused("no-data", "classes="):
        onnxprune.prune(RESNET, method="l1", ratio=0.5, classes=CHOSEN, output=tmp_path / "out.onnx")


def test_test_data_that_numbers_the_classes_otherwise_is_refused(tmp_path: Path) -> None:
    for name, order in (("data", "0123456789"), ("test", "1023456789")):
        pixels = np.zeros((20, 8, 8), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", x=pixels, y=np.arange(20) % 10, class_names=np.array(list(order)))
    with refused("bad-labels", "labels=FILE"):
        onnxprune.prune(
            RESNET,
            tmp_path / "data.npz",
            ratio=0.5,
            classes=("0", "5"),
            test=tmp_path / "test.npz",
            output=tmp_path / "out.onnx",
            preprocess="unit",
            check_accuracy=False,
        )


def opened(few: Path, **more: Any) -> Samples:
    config = PruneConfig(RESNET, data=few, preprocess="unit", **more)
    return open_samples(config, load(RESNET))


def test_samples_of_protected_classes_count_five_times_where_something_is_fitted(few: Path) -> None:
    plain, kept = opened(few), opened(few, protect=("7", "1"))
    assert kept.protected_names == ("1", "7")
    assert kept.fitted == len(plain.fit)
    counted = [np.bincount(np.asarray(samples.fit.labels), minlength=10) for samples in (plain, kept)]
    assert counted[1].tolist() == [5 * n if label in (1, 7) else n for label, n in enumerate(counted[0])]
    for part in ("judge", "calibration", "measured"):
        assert getattr(plain, part).rows.tolist() == getattr(kept, part).rows.tolist()


def test_the_plan_protects_again_and_gives_the_same_bytes(few: Path, tmp_path: Path) -> None:
    made = onnxprune.prune(RESNET, few, macs=0.04, output=tmp_path / "a.onnx", preprocess="unit", protect=("1", "7"))
    other = onnxprune.prune(RESNET, few, macs=0.04, output=tmp_path / "b.onnx", preprocess="unit")
    assert made.plan.request["protect"] == ["1", "7"]
    assert "protect" not in other.plan.request
    assert (tmp_path / "a.onnx").read_bytes() != (tmp_path / "b.onnx").read_bytes()
    config = PruneConfig(RESNET, data=few, output=tmp_path / "c.onnx", preprocess="unit")
    replay(config, onnxprune.load_plan(tmp_path / "a.plan.json"))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


@pytest.mark.parametrize(
    ("protect", "code", "said"),
    [
        (("1", "1"), "bad-value", "protect="),
        (("owl",), "unknown-name", "for protect="),
        (("1", "99"), "unknown-name", "for protect="),
    ],
)
def test_only_classes_of_the_data_are_protected(
    few: Path, tmp_path: Path, protect: tuple[str, ...], code: Code, said: str
) -> None:
    with refused(code, said):
        onnxprune.prune(RESNET, few, macs=0.04, output=tmp_path / "a.onnx", preprocess="unit", protect=protect)
    with refused("no-data", "protect="):
        onnxprune.prune(RESNET, None, "l1", macs=0.04, output=tmp_path / "a.onnx", protect=("1",))
    assert not (tmp_path / "a.onnx").exists()


def test_a_class_that_is_not_chosen_cannot_be_protected(few: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"macs": 0.04, "output": tmp_path / "a.onnx", "preprocess": "unit", "classes": CHOSEN}
    with refused("unknown-name", "'3'", "protect="):
        onnxprune.prune(RESNET, few, protect=("3",), **more)
    made = onnxprune.prune(RESNET, few, protect=("4",), **more)
    assert made.plan.request["protect"] == ["4"]


def test_a_number_stands_for_the_same_class_whatever_is_chosen(few: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("".join(f"{name}\n" for name in "zero one two three four five six seven eight nine".split()))
    named = shutil.copytree(few, tmp_path / "named")
    for folder, name in zip(sorted(named.iterdir()), words.read_text().split(), strict=True):
        folder.rename(named / name)
    kept = opened(named, labels=words, classes=("1", "2", "7"), protect=("7", "1"))
    assert kept.protected_names == ("one", "seven")
    with refused("unknown-name", "'0'"):
        opened(named, labels=words, classes=("1", "2", "7"), protect=("0",))
    assert opened(named, labels=words, classes=[1, 2], protect=2).protected_names == ("two",)


def test_a_class_that_was_cut_away_is_not_there_to_choose(few: Path, tmp_path: Path) -> None:
    trimmed = tmp_path / "a.onnx"
    more: dict[str, Any] = {"preprocess": "unit", "trim_head": True}
    onnxprune.prune(RESNET, few, "l1", classes=("2", "5", "7"), macs=0.5, output=trimmed, **more)
    with refused("unknown-name", "cut to the classes 2, 5, 7", "'3' of classes="):
        onnxprune.prune(trimmed, few, "l1", classes=("2", "3"), macs=0.5, output=tmp_path / "b.onnx", **more)


def test_gradients_are_not_promised_without_torch(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before the data are read, which may be many."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(opening, "open_samples", None)
    with refused("not-installed", "torch"):
        onnxprune.prune(RESNET, few, "fisher", macs=0.5, output=tmp_path / "a.onnx", preprocess="unit")


def test_the_only_sample_of_a_protected_class_is_fitted_to(few: Path, tmp_path: Path) -> None:
    lone = shutil.copytree(few, tmp_path / "lone")
    for image in sorted((lone / "8").iterdir())[1:]:
        image.unlink()
    for seed in range(12):
        labels = np.asarray(opened(lone, protect=("8",), seed=seed).fit.labels)
        assert np.count_nonzero(labels == 8) == 5


def test_a_plan_is_applied_to_data_that_its_protected_classes_are_not_of(few: Path, tmp_path: Path) -> None:
    made = onnxprune.prune(RESNET, few, macs=0.04, output=tmp_path / "a.onnx", preprocess="unit", protect=("8",))
    without = shutil.copytree(few, tmp_path / "without")
    shutil.rmtree(without / "8")
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{name}\n" for name in range(10)))
    config = PruneConfig(RESNET, data=without, labels=names, output=tmp_path / "b.onnx", preprocess="unit")
    result = replay(config, made.plan)
    assert any("of 8 there are no samples" in note for note in result.notes)
