"""The report is made of sections that a registry holds, and the words of a request are looked up."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from onnxprune.report.blocks import Block, Lines
from onnxprune.report.requests import REQUESTS
from onnxprune.report.section import SECTIONS, Detail, Section, complaint, report_blocks
from onnxprune.report.sections.request import request_lines
from onnxprune.selection.budget import Budget
from onnxprune.selection.goal import Goal
from onnxprune.selection.steering import Steering
from onnxprune.values.data import DataSummary
from onnxprune.values.outcome import Figures, LayerCost
from onnxprune.values.plan import GroupPlan, Plan
from onnxprune.values.results import Result

PLAN = Plan(
    "a.onnx", "0" * 64, "l2", {}, {"macs": 0.5, "round_to": 1}, {"macs": 0.4}, {"g": GroupPlan(4, (1,), ("g",))},
    frozen={f"f{number}": "it is an output" for number in range(5)},
)  # fmt: skip
RESULT = Result(
    Path("a.onnx"), (), PLAN, DataSummary(24, 6, skipped=("x.png",)), Figures(10, 20.0, 30, 4),
    warnings=("careful",), notes=("well",), output=Path("b.onnx"),
)  # fmt: skip


def text(blocks: tuple[Block, ...]) -> str:
    return "\n".join(f"{b.title}\n{b.lines if isinstance(b, Lines) else b.rows}" for b in blocks)


def said(**request: Any) -> str:
    return request_lines(replace(PLAN, request=request)).lines[0]


def test_every_file_of_the_package_is_a_section_of_its_own_order() -> None:
    files = {path.stem for path in (ROOT / "onnxprune/report/sections").glob("[a-z]*.py")}
    assert set(SECTIONS) == files
    assert len({section.order for section in SECTIONS.values()}) == len(files)


def test_a_terminal_has_the_short_form() -> None:
    found = text(report_blocks(RESULT, Detail(beside={"Report": Path("r.html")})))
    assert found.startswith(
        "\n('planned, with 1 warning: 40.0 % of the MACs (asked 50.0 %)',)\n\n('Warning: careful',)"
    )
    for part in ("a.onnx, to be pruned by l2", "Note: well", "and 2 more", "Report written to r.html", "b.onnx"):
        assert part in found
    assert "Origin" not in found
    assert "x.png" not in found


def test_a_page_has_everything_but_the_files_beside_it() -> None:
    found = text(report_blocks(RESULT, Detail(whole=True, page=True)))
    for part in ("Origin", "x.png", "Widths", "f4", "Notes"):
        assert part in found
    assert "written to" not in found


def test_what_a_plan_leads_to_is_shown_by_layer_where_it_is_not_carried_out() -> None:
    layers = tuple(LayerCost(f"conv{number}", "Conv", 100.0, float(number)) for number in range(25))
    planned = replace(RESULT, foreseen=Figures(7, 9.0, 11, 2), layers=layers)
    found = text(report_blocks(planned, Detail()))
    assert "('MACs', '20', '9', '2.22')" in found
    assert "('conv0', 'Conv', '100', '0', '0.0 %')" in found
    assert "'conv20'" not in found, "those of which least goes"
    assert "and 5 layers more, which -v shows" in found
    assert "'conv24'" in text(report_blocks(planned, Detail(whole=True)))
    done = replace(planned, after=Figures(6, 8.0, 10, 2))
    assert "'conv0'" not in text(report_blocks(done, Detail()))
    assert "('MACs', '20', '8', '2.50')" in text(report_blocks(done, Detail()))


def test_frozen_outputs_are_no_news() -> None:
    frozen = {"y": "y:1 is part of the graph output 'y'", "c": "no rule"}
    shown = replace(RESULT, plan=replace(PLAN, frozen=frozen))
    assert "1 frozen group\n('c: no rule',)" in text(report_blocks(shown, Detail()))
    assert "2 frozen groups" in text(report_blocks(shown, Detail(whole=True)))
    alone = replace(RESULT, plan=replace(PLAN, frozen={"y": frozen["y"]}))
    assert "frozen" not in text(report_blocks(alone, Detail()))


def test_a_section_more_is_shown_at_its_place() -> None:
    added = Section("mine", 15, lambda result, detail: (Lines((f"{result.model.name} is mine",)),))
    blocks = report_blocks(RESULT, Detail(), {**SECTIONS, "mine": added})
    assert isinstance(blocks[2], Lines)
    assert blocks[2].lines == ("a.onnx is mine",)


@pytest.mark.parametrize(
    ("thing", "wrong"),
    [(Section("a", 1, lambda result, detail: ()), False), (Section("b", 1, lambda r, d: ()), True), (print, True)],
)
def test_what_other_packages_offer_is_checked(thing: Any, wrong: bool) -> None:
    assert (complaint("a", thing) is not None) is wrong


def test_everything_that_can_be_asked_for_has_words() -> None:
    wish = Goal(policy="loss", steering=Steering(0.2, ("a*",), (("b*", 0.3),)))
    limits = {"max_drop", "max_drift", "max_class_drop", "allow", "trim_head", "steps"}
    assert {field.name for field in fields(Budget)} | wish.to_json().keys() | limits <= REQUESTS.keys()


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"macs": 0.5}, "at most 50.0 % of the MACs; widths not rounded"),
        ({"params": "1.2M", "round_to": 8}, "at most 1.2M of the parameters; widths in blocks of 8 (below that any)"),
        ({"max_drop": 0.01}, "at most 1 point of top-1 lost"),
        ({"ratio_for": {"a*": 0.3}}, "30.0 % of the channels of a* removed"),
        ({"macs": 0.5, "steps": 3, "policy": "loss"}, "; chosen in 3 steps; policy loss"),
        ({"energy": 3}, "energy 3"),
        ({}, "no budget, so what l2 finds below its threshold"),
    ],
)
def test_requests_in_words(request_: dict[str, Any], words: str) -> None:
    assert words in said(**request_)
