"""`--allow approximate` opens what a normalisation runs over, in every command that reads a model."""

import json
from pathlib import Path

import pytest
from nets import net, save_samples
from program import call, save


@pytest.fixture
def normed(tmp_path: Path) -> Path:
    """An MLP block with a LayerNorm on its residual stream of 16, hidden 32."""
    model = net(
        """(float[N, 4] x) => (float[N, 3] y)
        <float[4, 16] w0, float[16] s, float[16] b, float[16, 32] w1, float[32, 16] w2, float[16, 3] w3>
        {
            e = MatMul(x, w0)
            n = LayerNormalization(e, s, b)
            h = MatMul(n, w1)
            a = Relu(h)
            o = MatMul(a, w2)
            r = Add(e, o)
            y = MatMul(r, w3)
        }"""
    )
    return save(model, tmp_path / "normed.onnx")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    return save_samples(tmp_path / "samples.npz", 40, 4)


def test_inspect_shows_exact_groups_alone_unless_asked(normed: Path) -> None:
    exact = json.loads(call("inspect", normed, "--json").stdout)
    assert exact["prunable_channels"] == 32
    assert [group["state"] for group in exact["groups"]] == ["approximate", "prunable", "frozen"]
    opened = json.loads(call("inspect", normed, "--json", "--allow", "approximate").stdout)
    assert opened["prunable_channels"] == 48
    assert "normalisation runs over it" in opened["groups"][0]["reason"]


def test_inspect_says_what_opens_an_approximate_group(normed: Path) -> None:
    lines = call("inspect", normed).stdout.splitlines()
    assert sum(line.endswith("--allow approximate opens it") for line in lines) == 1
    assert "opens it" not in call("inspect", normed, "--allow", "approximate").stdout


def test_an_approximate_cut_is_checked_said_and_replayed(normed: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    options = ("--data", samples, "--method", "random", "--ratio", "0.5", "--round-to", "1", "--allow", "approximate")
    ended = call(normed, *options, "-o", out)
    assert ended.code == 0, ended.stderr
    assert "approximate groups too" in ended.stdout
    assert "cut equals mask" in ended.stdout
    plan = json.loads(out.with_suffix(".plan.json").read_text())
    assert plan["request"]["allow"] == "approximate"
    assert sorted(group["kept"] for group in plan["groups"].values()) == [8, 16]
    again = call("apply", normed, out.with_suffix(".plan.json"), "--data", samples, "-o", tmp_path / "again.onnx")
    assert again.code == 0, again.stderr
    assert (tmp_path / "again.onnx").read_bytes() == out.read_bytes()


def test_without_it_the_stream_stays_whole(normed: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    assert call(normed, "--data", samples, "--method", "random", "--ratio", "0.5", "-o", out).code == 0
    assert list(json.loads(out.with_suffix(".plan.json").read_text())["groups"]) == ["h"]
