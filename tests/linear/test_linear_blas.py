"""numpy's linear algebra has one thread while a run lasts, and then what it had before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import CONVNET
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

import onnxprune
from onnxprune.linear.blas import one_thread


def threads() -> list[int]:
    np.eye(3) @ np.eye(3)
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_the_threads_come_back() -> None:
    before = threads()
    assert before
    with one_thread():
        assert set(threads()) == {1}
    assert threads() == before
    with pytest.raises(ValueError, match="odd"), one_thread():
        raise ValueError("odd")
    assert threads() == before


def test_a_run_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(_: Any) -> None:
        raise ValueError(str(set(threads())))

    monkeypatch.setattr("onnxprune.pipeline.prune.make_plan", seen)
    with pytest.raises(ValueError, match=r"\{1\}"):
        onnxprune.prune(CONVNET, method="l1", macs=0.5, output=tmp_path / "out.onnx")
