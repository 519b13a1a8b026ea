"""Several processes under torch's launcher: the result of one, and a clear end when one of them dies."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from places import ROOT
from refusals import refused
from training_nets import CONVNET, PLAIN, samples
from training_nets import model as model_of

pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from onnxprune.finetune.training.processes import find_device


def files(folder: Path, text: str, count: int = 62) -> list[str]:
    onnx.save(model_of(text), folder / "net.onnx")
    found = samples(count, 1)
    assert found.labels is not None
    np.savez(folder / "train.npz", x=found.arrays["x"], y=found.labels)
    return [
        str(folder / "net.onnx"),
        "--data",
        str(folder / "train.npz"),
        "--no-accuracy-check",
        "--preprocess",
        "unit",
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def launched(processes: int, *args: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*launcher, "-m", "onnxprune", "finetune", *args]


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    args = [*files(tmp_path, CONVNET), "--epochs", "2", "--batch-size", "10", "--lr", "0.02"]
    one, two = tmp_path / "one.onnx", tmp_path / "two.onnx"
    alone = [sys.executable, "-m", "onnxprune", "finetune", *args, "-o", str(one), "--json"]
    for command in (alone, launched(2, *args, "-o", str(two), "--json")):
        ended = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False, timeout=200)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count('"history"') == 1, "the first process alone speaks"
    stored = [{t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer} for path in (one, two)]
    original = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "net.onnx").graph.initializer}
    assert not np.allclose(stored[0]["w2"], original["w2"], atol=1e-3), "it was trained at all"
    for name, value in stored[0].items():
        np.testing.assert_allclose(stored[1][name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


def test_weights_that_no_answer_depends_on_hold_nobody_up(tmp_path: Path) -> None:
    text = CONVNET.replace("(float[N, 3] y)", "(float[N, 3] y, float[N, 8] other)")
    text = text.replace("float[3] bf>", "float[3] bf, float[8, 8] wo>").replace(
        "bf)\n}", "bf)\n other = MatMul(f, wo)\n}"
    )
    args = [*files(tmp_path, text), "--epochs", "1", "--batch-size", "10", "-o", str(tmp_path / "out.onnx")]
    ended = subprocess.run(
        launched(2, *args), capture_output=True, text=True, env=environment(), check=False, timeout=200
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("Training on") == 1, "the first process alone speaks"
    assert "Warning" not in ended.stderr


def test_a_killed_process_ends_the_job_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    args = [*files(tmp_path, PLAIN), "--epochs", "100000", "-o", str(tmp_path / "out.onnx")]
    job = subprocess.Popen(
        launched(2, *args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )
    checkpoint = tmp_path / "out.checkpoint"
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert time.monotonic() < deadline, "no checkpoint came"
        assert job.poll() is None
        time.sleep(0.1)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(children[-1]), 9)
    output, _ = job.communicate(timeout=120)
    assert job.returncode != 0, output
    assert checkpoint.stat().st_size > 0
    assert not (tmp_path / "out.onnx").exists()
    resumed = [*args[:-4], "--epochs", "100000", "-o", str(tmp_path / "out.onnx"), "--resume", "--patience", "1"]
    ended = subprocess.run(
        [sys.executable, "-m", "onnxprune", "finetune", *resumed],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=100,
    )
    assert "is of another run (other recipe)" in ended.stderr, "it can be read, and says what is different"


def test_devices_are_found_or_refused() -> None:
    assert find_device("cpu").type == "cpu"
    import torch

    if not torch.cuda.is_available():
        assert find_device("auto").type == "cpu"
        with refused("no-device", "--device"):
            find_device("cuda")
    else:
        assert find_device("auto").type == "cuda"
    with refused("bad-value", "'tpu'"):
        find_device("tpu")
