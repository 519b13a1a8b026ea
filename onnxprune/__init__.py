"""onnxprune: class-aware channel pruning for any ONNX network.

`prune` does the whole job, and `iterate` with training in between; `compare` and `check` look at what came of it,
`profile` times layers. The stages are here one by one as well:
load, inspect, explain, collect, score, plan, apply, verify, recover, save.
"""

import os
from typing import TYPE_CHECKING, Any

from onnxprune._version import __version__

if TYPE_CHECKING:
    from onnxprune.api import (
        Analysis,
        Budget,
        Checked,
        Compared,
        InputError,
        Iterated,
        Model,
        OnnxPruneError,
        Packed,
        Plan,
        Preprocess,
        Profiled,
        Result,
        Scores,
        Statistics,
        Steering,
        UnreachableError,
        VerificationError,
        apply,
        check,
        collect,
        compare,
        explain,
        inspect,
        iterate,
        load,
        load_plan,
        open_data,
        plan,
        profile,
        prune,
        recover,
        save,
        score,
        verify,
    )

__all__ = [
    "Analysis",
    "Budget",
    "Checked",
    "Compared",
    "InputError",
    "Iterated",
    "Model",
    "OnnxPruneError",
    "Packed",
    "Plan",
    "Preprocess",
    "Profiled",
    "Result",
    "Scores",
    "Statistics",
    "Steering",
    "UnreachableError",
    "VerificationError",
    "__version__",
    "apply",
    "check",
    "collect",
    "compare",
    "explain",
    "inspect",
    "iterate",
    "load",
    "load_plan",
    "open_data",
    "plan",
    "profile",
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


def __dir__() -> list[str]:
    """Return the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING", "os"})
