"""What a run tells of its parts and of how long they take."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from places import CALIB, CONVNET

from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.events import Event, NullListener, Outlined, PartBegun
from onnxprune.pipeline.opening import open_run
from onnxprune.pipeline.outline import outline
from onnxprune.pipeline.prune import prune
from onnxprune.selection.budget import Budget
from onnxprune.selection.goal import Goal
from onnxprune.values.preprocess import PRESETS


class Heard(NullListener):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def hear(self, event: Event) -> None:
        self.events.append(event)


def config(tmp_path: Path, **more: Any) -> PruneConfig:
    goal = more.pop("goal", Goal(Budget(macs=0.5)))
    settings = {"output": tmp_path / "a.onnx", "preprocess": PRESETS["unit"], "method": "l1", "goal": goal, **more}
    return PruneConfig(CONVNET, CALIB, **settings)


def expected(tmp_path: Path, **more: Any) -> dict[str, float]:
    with open_run(config(tmp_path, **more)) as run:
        told = outline(replace(run, pass_seconds=1.0))
        return {str(part): seconds for part, seconds in told.seconds.items()}


def test_the_parts_are_told_in_their_order(tmp_path: Path) -> None:
    heard = Heard()
    prune(config(tmp_path, recovery="fold"), heard)
    outlined = [event for event in heard.events if isinstance(event, Outlined)]
    begun = [event.part for event in heard.events if isinstance(event, PartBegun)]
    assert begun == ["planning", "checking", "recovery", "measuring"], "nothing is trained"
    assert len(outlined) == 1
    assert list(outlined[0].seconds) == ["planning", "checking", "recovery", "measuring"]
    assert heard.events.index(outlined[0]) < heard.events.index(PartBegun("planning"))


def test_what_takes_longer_is_expected_to(tmp_path: Path) -> None:
    plain = expected(tmp_path)
    assert plain["recovery"] > expected(tmp_path, recovery="fold")["recovery"] > 0
    assert "recovery" not in expected(tmp_path, recovery="none")
    searched = expected(tmp_path, goal=Goal())
    assert searched["planning"] > 2 * plain["planning"]
    assert expected(tmp_path, goal=Goal(), max_drop=0.05)["planning"] > 3 * searched["planning"]
    assert "recovery" not in searched, "what was tried is not recovered again"
    assert expected(tmp_path, steps=3)["planning"] > plain["planning"]


def test_without_samples_little_is_expected(tmp_path: Path) -> None:
    with open_run(config(tmp_path)) as run:
        assert sum(outline(replace(run, samples=None)).seconds.values()) < 10
