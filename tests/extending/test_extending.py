"""What a package outside of onnxprune can add as an entry point, from an op rule to a budget.

Each example is a file of its own in this folder. None of them is part of onnxprune, and each takes part in a whole run.
"""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from extending.activations_budget import written
from nets import assert_cut_equals_mask, frozen_reasons, group_sizes, net
from PIL import Image
from places import CALIB, CONVNET
from refusals import refused

import onnxprune
from onnxprune.cli.program import program
from onnxprune.data.format import FORMATS
from onnxprune.importance.method import METHODS
from onnxprune.ops.rules import RULES
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.recovery.recovery import RECOVERIES
from onnxprune.registry import Registry
from onnxprune.report.blocks import Lines
from onnxprune.report.section import SECTIONS, Detail, report_blocks
from onnxprune.selection.budget import BUDGETS
from onnxprune.selection.policy import POLICIES

QUICK_GELU = "com.microsoft.QuickGelu"
Offer = Callable[[Registry[Any], str, str], None]


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Have a registry find one entry point, for this test alone."""

    def find(registry: Registry[Any], name: str, place: str) -> None:
        things = dict(registry)  # filled before there is anything to find
        group = registry._group
        assert group is not None
        point = EntryPoint(name, place, group)
        others = metadata.entry_points  # a registry that is filled for the first time now keeps what it finds

        def found(group: str) -> Any:
            return [point] if group == point.group else others(group=group)

        monkeypatch.setattr("onnxprune.registry.entry_points", found)
        monkeypatch.setattr(registry, "_things", things)
        monkeypatch.setattr(registry, "_broken", {})
        monkeypatch.setattr(registry, "_filled", False)

    return find


def prune(output: Path, method: str = "l1", model: Path = CONVNET, data: Path = CALIB, **more: Any) -> onnxprune.Result:
    settings = {"macs": 0.5, "preprocess": "unit", **more}
    return onnxprune.prune(model, data, method, output=output, **settings)


def on_the_shell(output: Path, *more: str, data: Path = CALIB) -> str:
    """Prune in the command line, by the l1 norm; return what is printed."""
    args = [
        str(CONVNET),
        "--data",
        str(CALIB),
        "--method",
        "l1",
        "--preprocess",
        "unit",
        "-o",
        str(output),
        *more,
    ]
    done = CliRunner().invoke(program, ["prune", *args])
    assert done.exit_code == 0, done.output
    return done.output


def quick_net() -> onnx.ModelProto:
    return net(
        """(float[N,3,8,8] x) => (float[N,5] y) <float[8,3,3,3] w, float[8] b, float[5,8] v, float[N,8,6,6] g> {
            c = Conv(x, w, b)
            g = com.microsoft.QuickGelu <alpha: float = 1.5> (c)
            p = GlobalAveragePool(g)
            f = Flatten(p)
            y = Gemm <transB = 1> (f, v)
        }""",
        domains={"com.microsoft": 1},
    )


def test_an_op_without_rule_freezes_and_with_one_its_cut_equals_the_mask(offer: Offer) -> None:
    assert group_sizes(quick_net()) == []
    assert "op of a custom domain" in frozen_reasons(quick_net())["c"]
    offer(RULES, QUICK_GELU, "extending.quick_gelu_rule:quick_gelu")
    assert group_sizes(quick_net()) == [8]
    checked = assert_cut_equals_mask(quick_net())
    assert checked.shape("w") == (4, 3, 3, 3)
    assert checked.shape("v") == (5, 4)


def test_a_network_with_an_op_of_its_own_is_pruned(offer: Offer, tmp_path: Path) -> None:
    offer(RULES, QUICK_GELU, "extending.quick_gelu_rule:quick_gelu")
    # The types of all tensors are recorded, as the shape of what an unknown op makes cannot be inferred.
    model = onnx.shape_inference.infer_shapes(onnx.load(CONVNET))
    node = next(node for node in model.graph.node if node.op_type == "Relu")
    node.op_type, node.domain = "QuickGelu", "com.microsoft"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, tmp_path / "quick.onnx")
    result = prune(tmp_path / "a.onnx", model=tmp_path / "quick.onnx")
    assert result.plan.reached["macs"] <= 0.5
    assert not any("QuickGelu" in why for why in result.plan.frozen.values())
    assert any(node.op_type == "QuickGelu" for node in onnx.load(tmp_path / "a.onnx").graph.node)


def test_a_method_ranks_the_channels(offer: Offer, tmp_path: Path) -> None:
    offer(METHODS, "largest-weight", "extending.largest_weight_method:METHOD")
    result = prune(tmp_path / "a.onnx", "largest-weight", policy="uniform", round_to=1, macs=0.04)
    assert result.plan.method == "largest-weight"
    assert result.plan.reached["macs"] <= 0.04
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(CONVNET).graph.initializer}
    for node in onnx.load(CONVNET).graph.node:
        if node.op_type != "Conv":
            continue
        largest = np.abs(weights[node.input[1]]).reshape(len(weights[node.input[1]]), -1).max(axis=1)
        removed = list(result.plan.groups[node.output[0]].removed)
        assert largest[removed].max() > 0, "dead channels alone rank nothing"
        assert largest[removed].max() <= np.delete(largest, removed).min()


def test_a_policy_shares_out_the_budget(offer: Offer, tmp_path: Path) -> None:
    offer(POLICIES, "widest-first", "extending.widest_first_policy:POLICY")
    result = prune(tmp_path / "a.onnx", policy="widest-first", round_to=1)
    assert result.plan.request["policy"] == "widest-first"
    assert result.plan.reached["macs"] <= 0.5
    widest = max(group.size for group in result.groups if group.frozen is None)
    kept = [cut.kept for cut in result.plan.groups.values() if cut.removed]
    assert max(kept) < widest
    assert max(kept) - min(kept) <= 1, "what was narrowed is of one width, give or take a channel"


def test_a_recovery_gives_new_weights(offer: Offer, tmp_path: Path) -> None:
    with refused("bad-value", "'mean'", "none, bias, fold, match, refit"):
        prune(tmp_path / "a.onnx", recovery="mean")
    offer(RECOVERIES, "mean", "extending.mean_recovery:RECOVERY")
    result = prune(tmp_path / "a.onnx", recovery="mean")
    assert result.plan.recovery.get("name", "mean") == "mean", "it, or the cut where that is better"
    assert result.quality is not None
    assert [step.name for step in result.quality.steps] == ["cut", "mean"]
    on_the_shell(tmp_path / "b.onnx", "--macs", "50%", "--recover", "mean")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_reader_opens_data(offer: Offer, tmp_path: Path) -> None:
    file = tmp_path / "digits.csv"
    images = [(path.parent.name, np.asarray(Image.open(path))) for path in sorted((CALIB).rglob("*.png"))]
    file.write_text("".join(f"{','.join([name, *map(str, image.ravel())])}\n" for name, image in images))
    with refused("unreadable-file", "digits.csv", "a folder", "an .npz"):
        prune(tmp_path / "a.onnx", data=file)
    offer(FORMATS, "csv", "extending.csv_reader:CSV")
    by_file, by_folder = prune(tmp_path / "a.onnx", data=file), prune(tmp_path / "b.onnx")
    assert by_file.plan.groups == by_folder.plan.groups
    assert by_file.quality is not None
    assert by_file.quality.after == by_folder.quality.after  # type: ignore[union-attr]
    on_the_shell(tmp_path / "c.onnx", "--macs", "50%", data=file)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()
    with refused("unreadable-file", "a .csv", "a folder", "an .npz"):
        prune(tmp_path / "a.onnx", data=Path(__file__))
    offer(FORMATS, "txt", "extending.csv_reader:CSV")
    with refused("unreadable-file", "'txt'", "'csv'"):
        prune(tmp_path / "a.onnx", data=Path(__file__))


def test_a_budget_is_held_to(offer: Offer, tmp_path: Path) -> None:
    with refused("unknown-name", "'activations'", "latency, macs, params, size"):
        prune(tmp_path / "a.onnx", budgets={"activations": 0.6})
    offer(BUDGETS, "activations", "extending.activations_budget:BUDGET")
    result = prune(tmp_path / "a.onnx", macs=None, budgets={"activations": "60%"}, round_to=1)
    assert result.plan.request["budgets"] == {"activations": 0.6}
    assert 0.5 < result.plan.reached["activations"] <= 0.6
    after = onnxprune.inspect(onnxprune.load(tmp_path / "a.onnx")).costs
    before = onnxprune.inspect(onnxprune.load(CONVNET)).costs
    left, whole = written(after, after.widths), written(before, before.widths)
    assert left / whole == pytest.approx(result.plan.reached["activations"])
    most = ["--budget", f"activations={math.floor(0.6 * whole)}", "--budget", "macs=90%", "--round-to", "1"]
    printed = on_the_shell(tmp_path / "b.onnx", *most)
    assert f"at most 90.0 % of the MACs, at most {math.floor(0.6 * whole)} of the numbers that layers write" in printed
    assert "of the numbers that layers write are left" in " ".join(printed.split())
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    with refused("over-budget", "0.1 % of the numbers that layers write"):
        prune(tmp_path / "a.onnx", budgets={"activations": 0.001})
    stepped = prune(tmp_path / "c.onnx", macs=None, budgets={"activations": 0.6}, round_to=1, steps=2)
    assert stepped.plan.reached["activations"] <= 0.6


def test_budgets_of_all_names_are_read_once() -> None:
    assert (
        PruneConfig(CONVNET, budgets={"macs": "50%", "size": "2kB"}).goal
        == PruneConfig(CONVNET, macs=0.5, size="2kB").goal
    )
    with refused("conflicting-options", "--macs", "--budget both say macs"):
        _ = PruneConfig(CONVNET, macs=0.5, budgets={"macs": "50%"}).goal
    with refused("bad-value", "macs=2", "a share"):
        _ = PruneConfig(CONVNET, budgets=["macs=2"]).goal
    with refused("unknown-name", "'ratio'"):
        _ = PruneConfig(CONVNET, budgets={"ratio": 0.5}).goal


def test_a_section_is_shown_in_the_report(offer: Offer, tmp_path: Path) -> None:
    offer(SECTIONS, "narrowest", "extending.narrowest_section:SECTION")
    blocks = report_blocks(prune(tmp_path / "a.onnx"), Detail())
    (block,) = (block for block in blocks if block.title == "Lost most")
    assert isinstance(block, Lines)
    assert "lost most" in block.lines[0]


def test_help_lists_what_is_installed_and_loads_none_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "a_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: a-package\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[onnxprune.policies]\nfirst = no:P\n[onnxprune.recoveries]\nlast = no:R\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "onnxprune", "prune", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    words = " ".join(shown.stdout.split())
    assert "--recover [none|bias|fold|last|match|refit]" in words
    assert "first, global, greedy" in words


def test_what_cannot_be_used_is_named(offer: Offer, tmp_path: Path) -> None:
    offer(RULES, QUICK_GELU, "extending.quick_gelu_rule:__doc__")
    assert "its rule cannot be used: extending.quick_gelu_rule:__doc__" in frozen_reasons(quick_net())["c"]
    offer(POLICIES, "wide", "extending.widest_first_policy:POLICY")
    with refused("unknown-name", "Policy 'wide'", "'widest-first'"):
        prune(tmp_path / "a.onnx", policy="wide")
    offer(RECOVERIES, "average", "extending.mean_recovery:RECOVERY")
    with refused("unknown-name", "Recovery 'average'", "'mean'"):
        prune(tmp_path / "a.onnx", recovery="average")
    offer(POLICIES, "number", "extending.narrowest_section:SECTION")
    assert "is no onnxprune.selection.policy.Policy" in POLICIES.broken["number"]
