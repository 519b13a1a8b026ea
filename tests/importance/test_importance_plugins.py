"""Methods of other packages: a distribution with entry points, sound ones and broken ones."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import CALIB, CONVNET
from refusals import refused

import onnxprune
from onnxprune.importance.method import GROUP, METHODS, Method, _complaint, find_method
from onnxprune.registry import Registry
from onnxprune.report.methods import broken_blocks

CODE = """
import numpy as np
from onnxprune.importance.method import Method
from onnxprune.importance.relative import score_by_layer
from onnxprune.values.statistics import Scores


def loudest(groups, statistics, options, rng):
    layers = statistics.layers.items()
    return score_by_layer(groups, {name: layer.values["mean magnitude"].max(axis=0) for name, layer in layers})


def method(name, score=loudest, needs="mean magnitude"):
    return Method(name, "S.", "f", "mine", lambda options: frozenset({needs}), score, cost="a pass")


LOUDEST = method("loudest")
SHORT = method("short", lambda groups, *_: Scores({group.name: np.ones(1) for group in groups}))
VAGUE = method("vague", needs="the weather")
OTHER = method("other")
TAKEN = method("l1")
NUMBER = 5
"""
POINTS = """[onnxprune.methods]
loudest = {module}:LOUDEST
short = {module}:SHORT
vague = {module}:VAGUE
misnamed = {module}:OTHER
l1 = {module}:TAKEN
number = {module}:NUMBER
missing = {module}:NOWHERE
absent = no_such_module_anywhere:METHOD
"""


@pytest.fixture
def methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[Method]]:
    """The registry as a process finds it in which a distribution with methods is installed."""
    own = dict(METHODS)  # filled before there is anything to find
    module = "a_package_with_methods"
    (tmp_path / f"{module}.py").write_text(CODE)
    info = tmp_path / "a_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS.format(module=module))
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[Method] = Registry("method", "onnxprune.importance", GROUP, _complaint)
    registry._things.update(own)
    monkeypatch.setattr("onnxprune.importance.method.METHODS", registry)
    yield registry
    sys.modules.pop(module, None)


def test_a_method_of_another_package_is_one_like_any_other(methods: Registry[Method], tmp_path: Path) -> None:
    assert find_method("loudest").source == "mine"
    assert set(METHODS) < set(methods)
    result = onnxprune.prune(CONVNET, CALIB, "loudest", macs=0.5, preprocess="unit", output=tmp_path / "a.onnx")
    assert result.plan.method == "loudest"
    assert result.plan.reached["macs"] <= 0.5


def test_what_cannot_be_used_is_named_and_stops_nothing(methods: Registry[Method]) -> None:
    assert find_method("l1").source.startswith("Li et al."), "a name that is taken stays as it is"
    assert set(methods.broken) == {"misnamed", "l1", "number", "missing", "absent"}
    assert "a-package: it calls itself 'other'" in methods.broken["misnamed"]
    assert "that name is taken" in methods.broken["l1"]
    assert "is no onnxprune.importance.method.Method" in methods.broken["number"]
    assert "AttributeError" in methods.broken["missing"]
    assert "ModuleNotFoundError" in methods.broken["absent"]
    (block,) = broken_blocks(methods.broken)
    assert len(block.lines) == 5  # type: ignore[union-attr]
    with refused("unknown-name", "'absent'", "no_such_module_anywhere:METHOD of a-package"):
        find_method("absent")


@pytest.mark.usefixtures("methods")
def test_unsound_scores_and_needs_are_refused(tmp_path: Path) -> None:
    with refused("bad-scores", "short", "group '"):
        onnxprune.prune(CONVNET, CALIB, "short", macs=0.5, preprocess="unit", output=tmp_path / "a.onnx")
    with refused("unknown-name", "'the weather'"):
        onnxprune.prune(CONVNET, CALIB, "vague", macs=0.5, preprocess="unit", output=tmp_path / "a.onnx")


def test_nothing_is_broken_as_it_comes() -> None:
    assert METHODS.broken == {}
    assert broken_blocks({}) == ()
