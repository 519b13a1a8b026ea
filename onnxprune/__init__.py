"""onnxprune: class-aware channel pruning for any ONNX network.

`prune` does the whole job; the stages are here one by one as well:
load, inspect, collect, score, plan, apply, verify, recover, save.
"""

import os
from typing import TYPE_CHECKING, Any

from onnxprune._version import __version__

if TYPE_CHECKING:
    from onnxprune.api import (
        Budget,
        Checked,
        Compared,
        Model,
        Plan,
        Result,
        Steering,
        apply,
        check,
        collect,
        compare,
        inspect,
        load,
        load_plan,
        open_data,
        plan,
        prune,
        recover,
        save,
        score,
        verify,
    )

__all__ = [
    "Budget",
    "Checked",
    "Compared",
    "Model",
    "Plan",
    "Result",
    "Steering",
    "__version__",
    "apply",
    "check",
    "collect",
    "compare",
    "inspect",
    "load",
    "load_plan",
    "open_data",
    "plan",
    "prune",
    "recover",
    "save",
    "score",
    "verify",
]

# onnxruntime sends what it runs to its makers unless it is told not to before it is imported. A model is its owner's
# business; whoever wants it otherwise sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import the API when it is first asked for, so that `import onnxprune` and `onnxprune --help` are quick."""
    if name not in __all__:
        raise AttributeError(f"module 'onnxprune' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("onnxprune.api"), name)
