"""`onnxprune profile`, `--latency`, `--latency-table` and `--round-to auto` on the command line, timed for real."""

import json
from pathlib import Path

import onnx
import pytest
from nets import net
from program import call, save

SMALL = (
    "(float[N,3,8,8] x) => (float[N,2] y) <float[16,3,3,3] w, float[16,16,3,3] v, float[2,16] u>"
    "{ a = Conv<pads=[1,1,1,1]>(x, w) b = Relu(a) c = Conv<pads=[1,1,1,1]>(b, v) d = GlobalAveragePool(c)"
    " e = Flatten(d) y = Gemm<transB=1>(e, u) }"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(net(SMALL), tmp_path / "net.onnx")


def test_a_profile_is_written_told_and_gone_by(model: Path, tmp_path: Path) -> None:
    table = tmp_path / "device.json"
    before = model.read_bytes()
    ended = call("profile", model, "-o", table, "--threads", "1", "-q")
    assert ended.code == 0, ended.stderr
    assert ended.stderr == ""
    for part in ("Slowest layers", "predicted from the layers", "1 thread", "scatter", "device.json"):
        assert part in ended.stdout
    content = json.loads(table.read_text())
    assert content["machine"]["threads"] == 1
    assert [layer["node"] for layer in content["layers"]] == [0, 2, 5]
    pruned = tmp_path / "a.onnx"
    by_times = ("--latency", "99%", "--latency-table", table, "--policy", "global")
    ended = call(model, "--method", "l1", *by_times, "-o", pruned, "--json")
    if ended.code == 0:
        found = json.loads(ended.stdout)
        assert found["reached"]["latency"] <= 0.99
        onnx.checker.check_model(onnx.load(pruned))
    else:  # so small a network may take all its time for what no width has a say in
        assert (ended.code, "latency cannot be met" in ended.sentence) == (1, True)
    assert model.read_bytes() == before


def test_the_table_goes_beside_the_model_unless_said_otherwise(model: Path) -> None:
    ended = call("profile", model, "--json", "-q")
    assert ended.code == 0
    found = json.loads(ended.stdout)
    assert found["table"] == str(model.with_suffix(".latency.json"))
    assert Path(found["table"]).exists()
    assert found["block"] >= 1
    assert found["wholes"][0]["median_ms"] > 0
    assert found["wholes"][0]["predicted_ms"] > 0


def test_a_packed_file_takes_no_settings_of_a_run(model: Path, tmp_path: Path) -> None:
    ended = call("profile", model, "--pack", tmp_path / "board.pyz")
    assert ended.code == 0
    assert "python board.pyz -o device.json" in ended.stdout
    ended = call("profile", model, "--pack", tmp_path / "board.pyz", "--threads", "2")
    assert (ended.code, "on the device" in ended.sentence) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["profile", "MODEL", "--provider", "NoneProvider"], "has no 'NoneProvider'"),
        (["profile", "MODEL", "-o", "MODEL"], "the input model"),
        (["profile", "MODEL", "-o", "no/such/folder/a.json"], "no/such/folder"),
        (["MODEL", "--method", "l1", "--latency", "60%", "--latency-table", "MODEL"], "is no latency table"),
        (["MODEL", "--method", "l1", "--latency", "60 furlongs"], "no budget"),
        (["MODEL", "--method", "l1", "--ratio", "50%", "--round-to", "some"], "no number of channels"),
        (["MODEL", "--method", "l1", "--ratio", "50%", "--round-to", "0"], "no number of channels"),
    ],
)
def test_bad_input_is_one_sentence(model: Path, arguments: list[str], said: str) -> None:
    ended = call(*(str(model) if argument == "MODEL" else argument for argument in arguments))
    assert ended.code == 2
    assert said in ended.stderr
    assert not list(model.parent.glob("*.pruned.onnx"))


def test_networks_that_do_not_run_on_noise_are_not_timed(tmp_path: Path) -> None:
    path = save(net("(int64[N,4] x) => (float[N,4,8] y) <float[10,8] w> { y = Gather(w, x) }"), tmp_path / "net.onnx")
    ended = call("profile", path)
    assert (ended.code, "random float32 numbers" in ended.sentence) == (2, True)


def test_the_block_is_found_by_default_and_stands_in_the_plan(model: Path, tmp_path: Path) -> None:
    ended = call(model, "--method", "l1", "--ratio", "50%", "-o", tmp_path / "a.onnx", "--json")
    assert ended.code == 0
    assert json.loads(ended.stdout)["requested"]["round_to"] == 8
