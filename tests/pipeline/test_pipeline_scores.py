"""Scores and keep masks in files: the same plan comes out again, one's own files work, and bad ones are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import Array
from places import CALIB, CONVNET, RESNET
from refusals import refused

import onnxprune
from onnxprune.errors import Code


def prune(model: Path, folder: Path, name: str = "a", **more: Any) -> onnxprune.Result:
    options = {"preprocess": "unit", "dry_run": True, **more}
    return onnxprune.prune(model, output=folder / f"{name}.onnx", **options)


def read(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("method", ["catro", "class-aware", "reconstruction", "l1"])
def test_scores_that_are_read_again_give_the_same_plan(tmp_path: Path, method: str) -> None:
    saved = tmp_path / "s.npz"
    first = prune(RESNET, tmp_path, "a", data=CALIB, method=method, macs=0.55, save_scores=saved)
    again = prune(RESNET, tmp_path, "b", data=CALIB, scores=saved, macs=0.55)
    assert (tmp_path / "a.plan.json").read_bytes() == (tmp_path / "b.plan.json").read_bytes()
    assert again.plan.method == method
    # without data, at another budget, as if computed at that budget
    other = prune(RESNET, tmp_path, "c", scores=saved, macs=0.75, round_to=1)
    computed = prune(RESNET, tmp_path, "d", data=CALIB, method=method, macs=0.75, round_to=1)
    assert other.plan.groups == computed.plan.groups != first.plan.groups


def test_a_method_with_a_rule_keeps_it(tmp_path: Path) -> None:
    saved = tmp_path / "s.npz"
    vote = {"q": 0.5, "rule": "vote", "variant": "map"}
    first = prune(CONVNET, tmp_path, "a", data=CALIB, method="entropy", alpha=1.0, save_scores=saved, options=vote)
    again = prune(CONVNET, tmp_path, "b", scores=saved)
    assert again.plan.groups == first.plan.groups
    assert again.plan.options == first.plan.options


def test_the_file_holds_the_chosen_masks_and_is_written_with_the_model_or_not_at_all(tmp_path: Path) -> None:
    saved = tmp_path / "s.npz"
    result = prune(CONVNET, tmp_path, method="l2", ratio=0.5, save_scores=saved, dry_run=False)
    arrays = read(saved)
    for name, mask in result.plan.keep().items():
        assert arrays[f"keep:{name}"].tolist() == mask.tolist()
        assert arrays[f"score:{name}"].shape == mask.shape
    first = saved.read_bytes()
    saved.unlink()
    with refused("over-budget"):
        prune(CONVNET, tmp_path, method="l2", macs=0.0001, save_scores=saved)
    assert not saved.exists()
    prune(CONVNET, tmp_path, method="l2", ratio=0.5, save_scores=saved)
    assert saved.read_bytes() == first


def group_sizes_of(model: Path) -> dict[str, int]:
    return {group.name: group.size for group in onnxprune.inspect(onnxprune.load(model)).prunable}


def test_scores_of_ones_own_only_rank(tmp_path: Path) -> None:
    sizes = group_sizes_of(CONVNET)
    mine = {f"score:{name}": np.arange(size) for name, size in sizes.items()}
    np.savez(tmp_path / "s.npz", **mine)  # type: ignore[arg-type]
    result = prune(CONVNET, tmp_path, scores=tmp_path / "s.npz", ratio=0.5, dry_run=False)
    assert result.plan.method == "imported"
    for name, group in result.plan.groups.items():
        assert group.removed == tuple(range(sizes[name] - group.kept)), "the lowest went"
    with refused("missing-option", "imported"):
        prune(CONVNET, tmp_path, scores=tmp_path / "s.npz")


def test_keep_masks_alone_are_obeyed_to_the_channel(tmp_path: Path) -> None:
    name, size = next(iter(group_sizes_of(CONVNET).items()))
    mask = np.arange(size) == 3
    np.savez(tmp_path / "k.npz", **{f"keep:{name}": mask})
    result = prune(CONVNET, tmp_path, scores=tmp_path / "k.npz", dry_run=False)
    assert result.plan.keep()[name].tolist() == mask.tolist(), "no floor and no rounding"
    assert result.plan.removed == size - 1
    with refused("conflicting-options", "k.npz", "budget"):
        prune(CONVNET, tmp_path, scores=tmp_path / "k.npz", macs=0.5)
    np.savez(tmp_path / "k.npz", **{f"keep:{name}": mask | True})
    with refused("nothing-to-prune", "k.npz"):
        prune(CONVNET, tmp_path, scores=tmp_path / "k.npz")


def test_files_that_will_not_do_are_refused_in_words(tmp_path: Path) -> None:
    sizes = group_sizes_of(CONVNET)
    name, size = next(iter(sizes.items()))
    good = {f"score:{group}": np.ones(count) for group, count in sizes.items()}
    about = '{"model": "0123", "method": "l1", "options": {}}'
    cases: list[tuple[dict[str, Any], Code, str]] = [
        ({}, "bad-scores", "0.npz"),
        ({**good, f"score:{name}": np.ones(size + 1)}, "bad-scores", name),
        ({**good, f"score:{name}": np.full(size, np.nan)}, "bad-scores", "NaN"),
        ({**good, f"score:{name}": np.full(size, "a")}, "bad-scores", "<U1"),
        ({**good, "score:nowhere": np.ones(3)}, "bad-scores", "'nowhere'"),
        ({**good, "weights:x": np.ones(3)}, "bad-scores", "'weights'"),
        ({k: v for k, v in good.items() if k != f"score:{name}"}, "bad-scores", name),
        ({f"keep:{name}": np.zeros(size, dtype=bool)}, "bad-scores", name),
        ({f"keep:{name}": np.ones(size)}, "bad-scores", name),
        ({**good, f"choice:{name}": np.ones((size + 1, size), dtype=bool)}, "bad-scores", name),
        ({**good, "about": np.asarray(about)}, "wrong-model", "digest 0123"),
        ({**good, "about": np.asarray("[1]")}, "bad-scores", "`about`"),
        ({**good, "about": np.asarray('{"method": "nobody"}')}, "unknown-name", "'nobody'"),
        (
            {**good, "about": np.asarray('{"method": "catro", "options": {"widths": "greedy"}}')},
            "bad-scores",
            f"curve of group {name!r}",
        ),
        ({**good, f"curve:{name}": np.zeros(size)}, "bad-scores", str(size + 1)),
    ]
    for number, (arrays, code, thing) in enumerate(cases):
        np.savez(tmp_path / f"{number}.npz", **arrays)
        with refused(code, thing):
            prune(CONVNET, tmp_path, scores=tmp_path / f"{number}.npz", ratio=0.5)
    (tmp_path / "text.npz").write_text("no zip")
    np.save(tmp_path / "one.npy", np.ones(3))
    np.savez(tmp_path / "object.npz", **{f"score:{name}": np.array([None], dtype=object)})  # type: ignore[arg-type]
    with refused("missing-file", "absent.npz"):
        prune(CONVNET, tmp_path, scores=tmp_path / "absent.npz", ratio=0.5)
    for file in ("text.npz", "one.npy", "object.npz"):
        with refused("unreadable-file", file):
            prune(CONVNET, tmp_path, scores=tmp_path / file, ratio=0.5)
    assert not (tmp_path / "a.plan.json").exists()


def test_the_file_that_is_read_is_not_written_over(tmp_path: Path) -> None:
    saved = tmp_path / "s.npz"
    prune(CONVNET, tmp_path, method="l1", ratio=0.5, save_scores=saved)
    with refused("would-overwrite", "s.npz"):
        prune(CONVNET, tmp_path, scores=saved, ratio=0.5, save_scores=saved)
