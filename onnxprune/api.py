"""The public Python API: `prune` in one call, and the stages for those who want to stand between them."""

from pathlib import Path

import attrs

from onnxprune import data
from onnxprune.analysis import explain as explaining
from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.inspect import inspect
from onnxprune.errors import InputError, OnnxPruneError, UnreachableError, VerificationError
from onnxprune.graph.loaded import Model, load
from onnxprune.pipeline.apply import open_plan
from onnxprune.pipeline.check import check as show
from onnxprune.pipeline.compare import compare as side_by_side
from onnxprune.pipeline.config.base import in_keywords, keywords_of, read_fields
from onnxprune.pipeline.config.jobs import (
    CheckConfig,
    CompareConfig,
    IterateConfig,
    ProfileConfig,
    PruneConfig,
)
from onnxprune.pipeline.events import NullListener
from onnxprune.pipeline.execution import cut, store
from onnxprune.pipeline.execution import recover as recovering
from onnxprune.pipeline.iterate import iterate as in_turns
from onnxprune.pipeline.planning import plans, scoring
from onnxprune.pipeline.profile import profile as timed
from onnxprune.pipeline.prune import prune as run
from onnxprune.selection.budget import Budget
from onnxprune.selection.steering import Steering
from onnxprune.values.checked import Checked
from onnxprune.values.compared import Compared
from onnxprune.values.plan import Plan
from onnxprune.values.preprocess import Preprocess
from onnxprune.values.progress import Track, silent
from onnxprune.values.results import Iterated, Packed, Profiled, Result
from onnxprune.values.statistics import Scores, Statistics

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


_python = in_keywords(PruneConfig)
apply, verify = _python(cut.apply), _python(cut.verify)
explain = _python(explaining.explain)
collect, score = _python(scoring.collect), _python(scoring.score)
open_data, plan = _python(data.open_data), _python(plans.plan)
recover, save = _python(recovering.recover_cut), _python(store.save)


@attrs.frozen(kw_only=True, slots=False, field_transformer=read_fields)
class PruneCall(PruneConfig):
    """What `prune` can be told from Python."""

    track: Track = attrs.field(default=silent, metadata={"help": "Receives progress."})


@keywords_of(PruneCall)
def prune(config: PruneCall) -> Result:
    """Prune `model` by what its channels mean on `data`, check the result, and write it.

    Values are those of the command line, as text or as what they mean: `macs="50%"` is `macs=0.5`.

    {arguments}

    Raises:
        InputError, UnreachableError, VerificationError: see `onnxprune.errors`; nothing is written then.
    """
    return run(config, _Tracking(config.track))


@keywords_of(IterateConfig)
def iterate(config: IterateConfig) -> Iterated:
    """Prune `model` and train it in turns; needs torch.

    {arguments}

    Raises:
        InputError, UnreachableError, VerificationError: see `onnxprune.errors`.
    """
    return in_turns(config)


@keywords_of(ProfileConfig)
def profile(config: ProfileConfig) -> Profiled | Packed:
    """Time the layers of `model` for budgets of latency, or pack what does that on a device.

    {arguments}

    Raises:
        InputError: see `onnxprune.errors`.
    """
    return timed(config)


@keywords_of(CheckConfig)
def check(config: CheckConfig) -> Checked:
    """Show once more, in another place, that `model` is what its plan makes of the original; nothing is written.

    {arguments}

    Raises:
        InputError, VerificationError: see `onnxprune.errors`.
    """
    return show(config)


@keywords_of(CompareConfig)
def compare(config: CompareConfig) -> Compared:
    """Measure `other` against `model` on the same data: accuracy, outputs, size, multiply-adds and latency.

    {arguments}

    Raises:
        InputError, UnreachableError: see `onnxprune.errors`.
    """
    return side_by_side(config)


class _Tracking(NullListener):
    """Hears progress alone."""

    def __init__(self, track: Track) -> None:
        self.track = track  # type: ignore[method-assign]


@_python
def load_plan(path: Path | str) -> Plan:
    """Read a plan file.

    Raises:
        InputError: it cannot be read, or is no plan that this version understands.
    """
    return open_plan(Path(path))
