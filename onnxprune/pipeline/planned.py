"""A plan on its way to being carried out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxprune.pipeline.stages import Judged
from onnxprune.values.plan import Plan
from onnxprune.values.trials import Search


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan, and what is said of how it came about.

    Attributes:
        plan: what is removed.
        notes: what the user should know.
        search: the plans that were tried; None: none was.
        files: what is written beside the model, by path: scores and the curve.
        stages: of its recovery, as far as they are known from its trial.
        given: whether the plan, or its keep masks, were given and not chosen.
        replayed: whether it comes from a plan file, which is applied whatever comes of it.
    """

    plan: Plan
    notes: tuple[str, ...] = ()
    search: Search | None = None
    files: Mapping[Path, bytes] | None = None
    stages: Judged | None = None
    given: bool = False
    replayed: bool = False
