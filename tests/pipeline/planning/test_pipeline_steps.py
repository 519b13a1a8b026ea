"""Choosing in several steps: channels are told apart by place, masks add up to one plan, and each step looks anew."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import analysed, kept, net
from places import CONVNET, RESNET
from refusals import refused

import onnxprune
from onnxprune.analysis.analysis import Analysis
from onnxprune.pipeline.apply import apply_plan as replay
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.planning.scoring import gather
from onnxprune.pipeline.planning.steps import carried_back, origins_of
from onnxprune.selection.masks import keep_best
from onnxprune.selection.threshold import by_threshold
from onnxprune.selection.widths import Width
from onnxprune.surgery.cut import cut
from onnxprune.values.axes import BoolArray
from onnxprune.values.statistics import Scores

# Channels 2, 3 and 4 of `a` go through the Slice as well, so they are a group of their own, called `a#2`.
SLICED = """(float[n, 2, 6, 6] x) => (float[n, 3, 4, 4] y, float[n, 3, 4, 4] z)
    <float[8, 2, 3, 3] w, float[3, 3, 1, 1] v, float[3, 8, 1, 1] u,
     int64[1] b = {2}, int64[1] e = {5}, int64[1] d = {1}> {
        a = Conv(x, w)
        s = Slice(a, b, e, d)
        y = Conv(s, v)
        z = Conv(a, u)
    }"""


def origins(whole: Analysis, keep: Mapping[str, BoolArray]) -> dict[str, tuple[str, list[int]]]:
    found = origins_of(whole, keep, analysed(cut(whole, keep).model))
    return {name: (original, channels.tolist()) for name, (original, channels) in found.items()}


def test_channels_are_told_apart_by_place_and_not_by_the_names_of_groups() -> None:
    whole = analysed(net(SLICED))
    assert {group.name: group.size for group in whole.free} == {"a": 5, "a#2": 3}
    assert origins(whole, {"a": kept(5, 4), "a#2": kept(3)}) == {"a": ("a", [0, 1, 2, 3]), "a#2": ("a#2", [0, 1, 2])}
    # Without channels 0 and 1 the first channel left is one of the slice, which now comes by the first name.
    swapped = origins(whole, {"a": kept(5, 0, 1), "a#2": kept(3, 1)})
    assert swapped == {"a": ("a#2", [0, 2]), "a#2": ("a", [2, 3, 4])}


def test_a_group_with_one_channel_left_is_no_group_any_more() -> None:
    whole = analysed(net(SLICED))
    assert origins(whole, {"a": kept(5), "a#2": kept(3, 0, 1)}) == {"a": ("a", [0, 1, 2, 3, 4])}


def test_other_groups_than_the_originals_are_refused() -> None:
    whole = analysed(net(SLICED))
    keep = {"a": kept(5, 0), "a#2": kept(3)}
    with refused("other-groups", "'a'", "--steps 1"):
        origins_of(whole, keep, whole)
    uncut = {"a": kept(5), "a#2": kept(3)}
    further = analysed(net(SLICED.replace("z = Conv(a, u)", "r = Relu(a) z = Conv(r, u)")))
    assert origins_of(whole, uncut, further).keys() == {"a", "a#2"}, "more tensors on the way change nothing"
    wider = SLICED.replace("{2}", "{1}").replace("float[3, 3, 1, 1] v", "float[3, 4, 1, 1] v")
    renamed = SLICED.replace("a = Conv", "q = Conv").replace("(a,", "(q,")
    for text in (wider, renamed):
        with refused("other-groups", "--steps 1"):
            origins_of(whole, uncut, analysed(net(text)))


def test_scores_of_a_step_are_carried_back_to_the_original() -> None:
    keep = {"a": kept(5, 0, 3), "b": kept(3, 0, 2)}
    found = Scores(
        {"x": np.array([0.5, 2.0, 1.0])},
        {"x": np.array([1.0, 2.0, 3.0])},
        ("note",),
        {"x": np.array([0.0, 3.0, 4.0, 4.5])},
        choose=lambda name, count: np.arange(3) < count,
    )
    back = carried_back(found, {"x": ("a", np.array([4, 1, 2]))}, keep)
    assert back.values["a"].tolist() == [-np.inf, 2.0, 1.0, -np.inf, 0.5]
    assert back.values["b"].tolist() == [-np.inf, np.inf, -np.inf]
    assert back.ties["a"].tolist() == [0, 2, 3, 0, 1]
    assert back.curves["a"].tolist() == [0, 3, 4, 4.5, 4.5, 4.5]
    assert back.notes == ("note",)
    assert keep_best(back, {"a": 2, "b": 1})["a"].tolist() == [False, True, False, False, True]
    assert keep_best(back, {"a": 3, "b": 1})["a"].tolist() == keep["a"].tolist()
    assert keep_best(back, {"a": 3, "b": 1})["b"].tolist() == keep["b"].tolist()


def test_a_cap_counts_what_is_there_still() -> None:
    scores = Scores({"a": np.array([-np.inf] * 10 + list(np.linspace(0, 0.9, 10)))})
    found = by_threshold([Width("a", 20)], scores, 1.0, 0.3, {"a": 10})
    assert found == {"a": 7}
    assert by_threshold([Width("a", 20)], scores, 0.85, 1.0, {"a": 10}) == {"a": 2}
    assert by_threshold([Width("a", 20)], scores, 0.0, 1.0, {"a": 10}) == {"a": 10}


def pruned(data: Path | None, output: Path, number: int, method: str = "catro", **more: Any) -> onnxprune.Result:
    options: dict[str, Any] = {"model": RESNET, "preprocess": None if data is None else "unit", "round_to": 1, **more}
    return onnxprune.prune(data=data, method=method, steps=number, output=output, **options)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Analysis]:
    """Return the networks that statistics are gathered on, as they come."""
    found: list[Analysis] = []

    def noted(analysis: Analysis, *args: Any, **more: Any) -> Any:
        found.append(analysis)
        return gather(analysis, *args, **more)

    monkeypatch.setattr("onnxprune.pipeline.planning.steps.gather", noted)
    return found


def widths_of(analyses: list[Analysis]) -> list[dict[str, int]]:
    return [{group.name: group.size for group in analysis.prunable} for analysis in analyses]


@pytest.mark.parametrize(("method", "recovery"), [("catro", "refit"), ("entropy", "bias"), ("reconstruction", "none")])
def test_a_budget_is_met_in_steps_by_one_plan(
    few: Path, tmp_path: Path, looked_at: list[Analysis], method: str, recovery: str
) -> None:
    result = pruned(few, tmp_path / "out.onnx", 3, method, macs=0.1, recovery=recovery)
    assert 0.085 <= result.plan.reached["macs"] <= 0.1
    assert result.plan.request == {"macs": 0.1, "round_to": 1, "steps": 3}
    assert result.equality is not None
    assert result.equality.status == "equal"
    seen = widths_of(looked_at)
    assert [sum(widths.values()) for widths in seen] == sorted({sum(w.values()) for w in seen}, reverse=True)
    assert len(seen) == 3
    for name, group in result.plan.groups.items():
        assert group.kept <= seen[2].get(name, group.kept) <= seen[1].get(name, group.size) <= group.size
        assert group.kept >= -(-group.size // 10), "the floor is that of the original"
    (note,) = [note for note in result.notes if note.startswith("Chosen in 3 of 3 steps, which left 46.")]
    assert note.endswith("% of the MACs, one after the other.")
    again = replay(
        PruneConfig(RESNET, data=few, output=tmp_path / "again.onnx", preprocess="unit"),
        onnxprune.load_plan(tmp_path / "out.plan.json"),
    )
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "out.onnx").read_bytes()
    assert again.equality == result.equality


def test_a_second_step_looks_at_the_recovered_network(few: Path, tmp_path: Path, looked_at: list[Analysis]) -> None:
    options: dict[str, Any] = {"macs": 0.03, "dry_run": True}
    recovered = pruned(few, tmp_path / "a.onnx", 2, "random", **options)
    plain = pruned(few, tmp_path / "b.onnx", 2, "random", **options, recovery="none")
    once = pruned(few, tmp_path / "c.onnx", 1, "random", **options)
    first, second, again, cut_alone, lone = (
        analysis.graph.model.SerializeToString(deterministic=True) for analysis in looked_at
    )
    assert first == again == lone
    assert len({first, second, cut_alone}) == 3, "the cut with new weights, and the cut alone"
    assert {result.plan.request.get("steps") for result in (recovered, plain)} == {2}
    assert once.plan.request == {"macs": 0.03, "round_to": 1}


def test_a_ratio_is_reached_exactly_and_needs_no_data(tmp_path: Path, looked_at: list[Analysis]) -> None:
    result = pruned(None, tmp_path / "out.onnx", 2, "l1", ratio=0.5, round_to=8)
    once = pruned(None, tmp_path / "once.onnx", 1, "l1", ratio=0.5, round_to=8)
    assert {n: g.kept for n, g in result.plan.groups.items()} == {n: g.kept for n, g in once.plan.groups.items()}
    seen = widths_of(looked_at)
    assert len(seen) == 3
    assert 0.6 < sum(seen[1].values()) / sum(seen[0].values()) < 0.85


def test_a_threshold_is_applied_until_nothing_goes(few: Path, tmp_path: Path, looked_at: list[Analysis]) -> None:
    """Three quarters of the channels are dead; a tenth of what is there goes in a step."""
    rule = {"cap": 0.5, "threshold": 0.1}
    options: dict[str, Any] = {"model": CONVNET, "alpha": 1.0, "options": rule, "dry_run": True}
    result = pruned(few, tmp_path / "out.onnx", 9, "class-aware", **options)
    assert {group.kept / group.size for group in result.plan.groups.values()} == {0.25}
    seen = widths_of(looked_at)
    assert 3 <= len(seen) < 9
    totals = [sum(widths.values()) for widths in seen]
    assert all(2 * after >= before for before, after in pairwise(totals)), "the cap holds"
    assert f"Chosen in {len(seen)} of 9 steps" in " ".join(result.notes)


def test_a_trimmed_head_stays_so_in_every_step(few: Path, tmp_path: Path, looked_at: list[Analysis]) -> None:
    result = pruned(few, tmp_path / "out.onnx", 2, macs=0.2, classes=["1", "4", "7"], trim_head=True)
    head = onnxprune.inspect(onnxprune.load(CONVNET), trim_head=True).classes
    assert head is not None
    assert result.plan.groups[head.name].removed == (0, 2, 3, 5, 6, 8, 9)
    seen = widths_of(looked_at)
    assert len(seen) == 2
    assert result.plan.reached["macs"] <= 0.2
    assert result.quality is not None
    assert result.quality.after is not None
    assert result.quality.after.classes == 3


def test_what_cannot_be_is_refused_before_any_step(few: Path, tmp_path: Path, looked_at: list[Analysis]) -> None:
    with refused("bad-value", "steps=0"):
        pruned(few, tmp_path / "out.onnx", 0, macs=0.5)
    with refused("over-budget", "0.1 % of the MACs"):
        pruned(few, tmp_path / "out.onnx", 4, macs=0.001)
    with refused("conflicting-options", "steps="):
        pruned(few, tmp_path / "out.onnx", 2, macs=0.5, save_scores=tmp_path / "s.npz")
    seen = widths_of(looked_at)
    assert seen == []
