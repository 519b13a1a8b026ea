"""A run that prunes nothing must say so, with an exit code, and write nothing."""

from pathlib import Path

import onnx
import pytest
from folders import names
from nets import net, save_samples
from program import Ended, call
from refusals import refused

import onnxprune

# The only layer's channels are the classes themselves.
CLASSES_ONLY = """(float[n, 1, 8, 8] x) => (float[n, 4] y) <float[4, 1, 8, 8] w0, int64[2] flat = {0, 4}> {
        c = Conv(x, w0)
        y = Reshape(c, flat)
    }"""
# An op that nobody has described stands behind the layer.
UNKNOWN = """(float[n, 1, 8, 8] x) => (float[n, 4, 8, 8] y, int64[4, k] z)
    <float[8, 1, 1, 1] w0, float[4, 8, 1, 1] w1> {
        c = Conv(x, w0)
        z = NonZero(c)
        y = Conv(c, w1)
    }"""
# Prunable, but the budget already holds.
FREE = """(float[n, 1, 8, 8] x) => (float[n, 4] y) <float[8, 1, 8, 8] w0, float[8, 4] w1> {
        c = Conv(x, w0)
        f = Flatten(c)
        y = MatMul(f, w1)
    }"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_samples(tmp_path / "data.npz", 8, 1, 8, 8)


def saved(text: str, folder: Path) -> Path:
    onnx.save(net(text), folder / "net.onnx")
    return folder / "net.onnx"


def prune(text: str, data: Path, *args: object) -> Ended:
    ended = call(saved(text, data.parent), "--data", data, "--method", "random", *args)
    assert ended.stdout == ""
    assert names(data.parent) == ["data.npz", "net.onnx"]
    return ended


@pytest.mark.parametrize("text", [CLASSES_ONLY, UNKNOWN], ids=["classes only", "unknown op"])
def test_torch_pruning_505_a_net_without_free_channels_ends_with_a_sentence(text: str, data: Path) -> None:
    """Every layer was skipped in silence, and the unchanged model came back as the result."""
    ended = prune(text, data, "--ratio", "0.5")
    assert ended.code == 1
    assert ended.sentence.startswith("Nothing can be pruned")
    assert "inspect" in ended.sentence


@pytest.mark.parametrize(("text", "reason"), [(CLASSES_ONLY, "graph output 'y'"), (UNKNOWN, "NonZero")])
def test_torch_pruning_505_inspect_names_the_reason_for_every_frozen_group(text: str, reason: str, data: Path) -> None:
    """The sentence sends to `inspect`, so `inspect` has to know."""
    ended = call("inspect", saved(text, data.parent), "--json")
    assert ended.code == 0
    assert reason in ended.stdout


@pytest.mark.parametrize("budget", [("--ratio", "0"), ("--macs", "100%")])
def test_torch_pruning_505_a_budget_that_already_holds_is_no_success(budget: tuple[str, str], data: Path) -> None:
    """Nothing asked, nothing done: that is said as well."""
    ended = prune(FREE, data, *budget)
    assert ended.code == 1
    assert ended.sentence.startswith("Nothing was pruned")


def test_torch_pruning_505_the_python_api_raises(data: Path) -> None:
    """The same through `onnxprune.prune`."""
    with refused("nothing-to-prune", "the only channel group"):
        onnxprune.prune(saved(CLASSES_ONLY, data.parent), data, "random", ratio=0.5)
    assert not (data.parent / "net.pruned.onnx").exists()
