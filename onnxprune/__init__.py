"""onnxprune: class-aware channel pruning for any ONNX network.

`prune` does the whole job; the stages are here one by one as well:
load, inspect, collect, score, plan, apply, verify.
"""

__version__ = "0.1.0"

from onnxprune.pipeline.api import (
    Budget,
    Model,
    Plan,
    Result,
    apply,
    collect,
    inspect,
    load,
    load_plan,
    open_data,
    plan,
    prune,
    score,
    verify,
)

__all__ = [
    "Budget",
    "Model",
    "Plan",
    "Result",
    "__version__",
    "apply",
    "collect",
    "inspect",
    "load",
    "load_plan",
    "open_data",
    "plan",
    "prune",
    "score",
    "verify",
]
