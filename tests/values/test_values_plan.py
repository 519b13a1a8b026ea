"""The plan as text: it comes back whole, can be reviewed line by line, and refuses what cannot be."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from onnxprune.errors import InputError
from onnxprune.values.plan import SCHEMA, GroupPlan, Plan, read_plan

PLAN = Plan(
    model="net.onnx",
    digest="ab" * 32,
    method="entropy",
    options={"variant": "map", "rule": "mean", "q": 1.0},
    request={"macs": 0.5, "round_to": 8},
    reached={"macs": 0.48, "params": 0.5, "channels": 0.6},
    groups={"conv/1": GroupPlan(8, (1, 4, 7), ("conv/1", "conv/3")), "fc": GroupPlan(4, (), ("fc",))},
    frozen={"out": 'out:1 is a graph output, "as it is"'},
    copies={"w_copy": "w"},
    seed=7,
    versions={"onnxprune": "0.1.0"},
    data={"images": 10, "preprocess": None},
    recovery={"name": "refit", "samples": 512},
    classes={"cat": 3, "dog": 5},
)


def entry(**changes: Any) -> str:
    """Return the text of `PLAN` with changes at the top level; None removes a key."""
    data = json.loads(PLAN.to_text()) | changes
    return json.dumps({key: value for key, value in data.items() if value is not None or key == "data"})


def with_group(**changes: Any) -> str:
    return entry(groups={"g": {"size": 4, "kept": 3, "removed": [1], "layers": ["g"]} | changes})


def test_a_plan_comes_back_whole() -> None:
    assert read_plan(PLAN.to_text(), "p.json") == PLAN


def test_a_plan_of_before_there_was_recovery_has_none() -> None:
    data = json.loads(PLAN.to_text())
    del data["recovery"]
    assert read_plan(json.dumps(data), "p.json") == replace(PLAN, recovery={})


@pytest.mark.parametrize(
    "recovery",
    [{"samples": 5}, {"name": "refit", "samples": "5"}, {"name": 3, "samples": 5}, {"name": "fold", "samples": 0}, [1]],
)
def test_a_recovery_that_is_none_is_refused(recovery: Any) -> None:
    with refused("unreadable-file", "p.json"):
        read_plan(entry(recovery=recovery), "p.json")


@given(
    groups=st.dictionaries(
        st.text(max_size=8),
        st.integers(1, 20).flatmap(
            lambda size: st.builds(
                lambda removed: GroupPlan(size, tuple(sorted(removed)), ("a", "b")),
                st.sets(st.integers(0, size - 1), max_size=size - 1),
            )
        ),
        max_size=4,
    ),
    frozen=st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3),
)
def test_any_plan_comes_back_whole(groups: dict[str, GroupPlan], frozen: dict[str, str]) -> None:
    plan = replace(PLAN, groups=groups, frozen=frozen)
    back = read_plan(plan.to_text(), "p.json")
    assert back == plan
    assert back.to_text() == plan.to_text()


def test_the_text_has_one_line_per_group_and_fact() -> None:
    lines = PLAN.to_text().splitlines()
    assert lines[0] == "{"
    assert lines[1] == f'  "schema": {SCHEMA},'
    start = lines.index('  "groups": {')
    assert lines[start + 1 :] == [
        '    "conv/1": {"size": 8, "kept": 5, "removed": [1, 4, 7], "layers": ["conv/1", "conv/3"]},',
        '    "fc": {"size": 4, "kept": 4, "removed": [], "layers": ["fc"]}',
        "  }",
        "}",
    ]
    assert PLAN.to_text().endswith("}\n")


def test_a_change_of_one_group_changes_one_line() -> None:
    other = replace(PLAN, groups={**PLAN.groups, "fc": GroupPlan(4, (2,), ("fc",))})
    pairs = zip(PLAN.to_text().splitlines(), other.to_text().splitlines(), strict=True)
    assert sum(a != b for a, b in pairs) == 1


def test_keep_masks_and_counts_follow_from_what_is_removed() -> None:
    masks = PLAN.keep()
    assert masks["conv/1"].tolist() == [True, False, True, True, False, True, True, False]
    assert masks["fc"].all()
    assert PLAN.removed == 3
    assert PLAN.groups["conv/1"].kept == 5
    with pytest.raises(ValueError, match="read-only"):
        masks["fc"][0] = False


def test_removed_channels_are_put_in_order() -> None:
    assert read_plan(with_group(removed=[3, 0, 2]), "p.json").groups["g"].removed == (0, 2, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "p.json is not a plan (no valid JSON); make one with --dry-run."),
        ("", "p.json is not a plan (no valid JSON); make one with --dry-run."),
        ("[1, 2]", "p.json is not a plan (it has no schema number); make one with --dry-run."),
        ('"schema"', "p.json is not a plan (it has no schema number); make one with --dry-run."),
        ("{}", "p.json is not a plan (it has no schema number); make one with --dry-run."),
        (
            '{"schema": 2}',
            f"p.json has plan schema 2, this version reads schema {SCHEMA}; make the plan again.",
        ),
        (
            '{"schema": null}',
            f"p.json has plan schema None, this version reads schema {SCHEMA}; make the plan again.",
        ),
        ('{"schema": 1}', "p.json is not a whole plan ('groups'); make it again with --dry-run."),
    ],
)
def test_what_is_no_plan_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_plan(text, "p.json")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "key", ["model", "digest", "method", "options", "request", "reached", "groups", "frozen", "copies", "seed", "data"]
)
def test_a_missing_part_is_named(key: str) -> None:
    data = json.loads(PLAN.to_text())
    del data[key]
    with refused("unreadable-file", f"('{key}')"):
        read_plan(json.dumps(data), "p.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"removed": [4]},
        {"removed": [-1]},
        {"removed": [1, 1]},
        {"removed": [1.5]},
        {"removed": ["1"]},
        {"removed": [True]},
        {"size": 0, "removed": []},
        {"size": -3, "removed": []},
        {"size": "4"},
        {"size": True, "removed": []},
    ],
)
def test_an_impossible_group_is_refused_by_name(changes: dict[str, Any]) -> None:
    with refused("unreadable-file", "p.json", "group 'g'"):
        read_plan(with_group(**changes), "p.json")


@pytest.mark.parametrize(
    "text",
    [
        with_group(removed=3),
        with_group(layers=None),
        entry(groups=[1]),
        entry(groups={"g": 5}),
        entry(reached={"macs": "half"}),
        entry(seed="x"),
        entry(options=3),
    ],
)
def test_parts_of_the_wrong_kind_are_refused(text: str) -> None:
    with refused("unreadable-file", "p.json"):
        read_plan(text, "p.json")


@pytest.mark.parametrize(
    "classes", [{"cat": 3}, {"cat": 3, "dog": 3}, {"cat": 5, "dog": 3}, {"cat": "3", "dog": 4}, [3]]
)
def test_classes_that_are_none_are_refused(classes: Any) -> None:
    with refused("unreadable-file", "p.json"):
        read_plan(entry(classes=classes), "p.json")


def test_a_request_in_words_is_refused() -> None:
    with refused("unreadable-file", "p.json", "max_class_drop"):
        read_plan(entry(request={"max_class_drop": "much"}), "p.json")
