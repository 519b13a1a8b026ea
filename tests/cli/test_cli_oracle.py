"""`--oracle` asks another runtime about the cut, and about the model that is written."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from large import one_file
from nets import CLASSIFIER, net, save_samples
from program import Ended, call, refused, save

from onnxprune.runtime import oracles

CUT = ("--method", "l1", "--ratio", "50%", "--round-to", "1")
SCALE = 3.0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(net(CLASSIFIER), tmp_path / "net.onnx")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    return save_samples(tmp_path / "samples.npz", 40, 3, 8, 8)


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the reference compute something else from the model that messages call so."""
    real = oracles.open_oracle

    def plant(what: str, opened: int = 1) -> None:
        seen = iter(range(opened, 0, -1))

        def planted(name: str, proto: onnx.ModelProto, described: str) -> oracles.Run:
            run = real(name, proto, described)
            if described != what or next(seen, 0) != 1:
                return run
            return lambda feeds: {key: SCALE * value for key, value in run(feeds).items()}

        monkeypatch.setattr("onnxprune.verification.second_opinion.open_oracle", planted)

    return plant


def asked(model: Path, *more: object, oracle: str = "reference") -> Ended:
    return call(model, *CUT, "--oracle", oracle, "-o", model.with_name("small.onnx"), *more)


def opinion(ended: Ended) -> Mapping[str, Any]:
    assert ended.code == 0, ended.stderr
    found: Mapping[str, Any] = json.loads(ended.stdout)["opinion"]
    assert found["cut"] < found["tolerance"] > found["written"]
    return found


@pytest.mark.parametrize("oracle", ["reference", "openvino"])
def test_another_runtime_agrees(model: Path, samples: Path, oracle: str) -> None:
    if oracle == "openvino":
        pytest.importorskip("openvino")
    ended = asked(model, "--data", samples, "--recover", "refit", "--json", "--force", oracle=oracle)
    assert opinion(ended)["oracle"] == oracle


def test_it_is_said_and_not_asked_by_default(model: Path) -> None:
    assert "Second opinion of reference: cut and mask differ by" in asked(model).stdout
    assert "Second opinion" not in call(model, *CUT, "-o", model.with_name("small.onnx")).stdout


def test_weights_in_data_files_go_along(tmp_path: Path) -> None:
    opinion(asked(one_file(tmp_path / "in"), "--json"))


def test_a_classifier_of_some_classes(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = tmp_path / "labelled.npz"
    np.savez(data, x=rng.normal(size=(40, 3, 8, 8)).astype(np.float32), y=np.arange(40) % 4)
    opinion(asked(model, "--data", data, "--classes", "0,2", "--trim-head", "--no-accuracy-check", "--force", "--json"))


@pytest.mark.parametrize(("what", "opened"), [("the cut", 1), ("the model", 2)], ids=["cut", "written"])
def test_what_it_does_not_agree_to_is_not_written(
    model: Path, wrong: Callable[..., None], what: str, opened: int
) -> None:
    wrong(what, opened)
    ended = asked(model, "-q")
    refused(ended, "reference", "differs by 2.0e+00", "nothing was written", code=3)
    assert not model.with_name("small.onnx").exists()


def test_one_that_disagrees_about_the_original_has_no_say(model: Path, wrong: Callable[..., None]) -> None:
    wrong("the model")
    refused(asked(model, "-q"), "--oracle reference computes something else than onnxruntime from the original")


def test_one_that_cannot_run_the_model(tmp_path: Path) -> None:
    fused = net(CLASSIFIER.replace("r = Relu(c)", "r = com.microsoft.Gelu(c)"))
    fused.opset_import.add(domain="com.microsoft", version=1)
    refused(asked(save(fused, tmp_path / "fused.onnx"), "-q"), "--oracle reference cannot run", "Gelu")


def test_one_that_is_not_installed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    refused(asked(model, "-q", oracle="openvino"), "--oracle openvino needs a package that is not there")


def test_one_that_nobody_knows(model: Path) -> None:
    refused(asked(model, "-q", oracle="referense"), "'referense'", "reference")
