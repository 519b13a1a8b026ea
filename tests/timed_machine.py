"""A machine that is made up, whose kernels are filled in blocks of 8 channels.

So timing takes no time, and says the same every time.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from places import RESNET

from onnxprune.analysis import inspect as inspecting
from onnxprune.analysis.analyse import analyse
from onnxprune.analysis.analysis import Analysis
from onnxprune.graph import loaded
from onnxprune.graph.model import read_graph
from onnxprune.latency import board

BLOCK = 8


def filled(width: int) -> int:
    return BLOCK * -(-width // BLOCK)


def micros(model: onnx.ModelProto) -> float:
    """Return what the machine takes: a microsecond for every thousand multiply-adds of full blocks, and more."""
    analysis = analyse(read_graph(model))
    taken = 5.0
    for term in analysis.costs.macs:
        node = model.graph.node[term.node]
        shape = analysis.graph.facts.known[node.input[1]].first.shape
        rest = term.factor * np.prod([analysis.costs.widths[axis] for axis in term.axes]) / np.prod(shape)
        taken += rest * filled(shape[0]) * filled(shape[1]) * np.prod(shape[2:]) / 1000
    return float(taken)


def parts() -> tuple[loaded.Model, Analysis]:
    model = loaded.load(RESNET)
    return model, inspecting.inspect(model)


def made_up(patch: pytest.MonkeyPatch, cache: Path) -> dict[str, float]:
    """Have the made-up machine time everything; `off` is by how much whole networks take longer than it says."""
    state = {"off": 1.0, "calls": 0.0}
    patch.setenv("ONNXPRUNE_CACHE", str(cache))
    patch.setattr("onnxprune.latency.block.layout_block", lambda: None)

    def time_one(path: str, *, whole: bool) -> dict[str, float]:
        model = onnx.load(path)
        kept = any("cut" in entry.key for entry in model.metadata_props)
        taken = micros(model) * (state["off"] if whole and "0/model" not in path and not kept else 1.0)
        return {"median": taken, "p10": taken, "p90": taken, "runs": 5}

    def run(
        read: Callable[[str], str],
        jobs: Sequence[Mapping[str, Any]],
        *_: Any,
    ) -> dict[str, dict[str, float]]:
        state["calls"] += len(jobs)
        return {job["id"]: time_one(read(job["file"]), whole=False) for job in jobs}

    patch.setattr(board, "run", run)
    patch.setattr(board, "time_whole", lambda models, *_: [time_one(model, whole=True) for model in models])
    return state
