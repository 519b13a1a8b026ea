"""The results of the commands, in plain values: no model, data or session is kept in them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onnxprune._version import RESULT_FORMAT, __version__
from onnxprune.values.brief import brief
from onnxprune.values.data import DataSummary
from onnxprune.values.equality import Equality
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.measures import measures
from onnxprune.values.opinion import Opinion
from onnxprune.values.outcome import Figures, LayerCost, Quality, Speedup, finite
from onnxprune.values.plan import Plan
from onnxprune.values.promise import Promise
from onnxprune.values.quantized import Quantized, effects
from onnxprune.values.training import Epoch
from onnxprune.values.trials import Search


@brief
@dataclass(frozen=True, eq=False)
class Result:
    """The result of pruning; what was not reached (a dry run stops at the plan) is None.

    Attributes:
        model: the model that was pruned.
        groups: its channel groups.
        plan: the cut.
        data: the data; None: there were none.
        before, after: figures of the original and of the pruned model.
        quality: accuracy, or change of the outputs, before and after.
        equality: the check that cut equals mask.
        opinion: what another runtime says of it; None: none was asked.
        warnings, notes: sentences for the user.
        output, plan_output, labels_output, quantized_output: files that were written.
        search: plans that were tried before one was chosen.
        curve_output: files of the curve of these plans, by ending.
        quantized: figures of the quantized model.
        failure: what was asked for on top of the pruned model and could not be done; the model is written even so.
        threads: threads of the runtime; None: its default.
        promise: what is promised of the limits on the loss; None: there are none, or nothing was measured.
        speedup: of the pruned model; None: not measured.
        single_speedup: the same on one thread.
        foreseen: figures that the plan leads to, as far as they follow from widths.
        layers: what each layer costs, in graph order.
    """

    model: Path
    groups: tuple[ChannelGroup, ...]
    plan: Plan
    data: DataSummary | None
    before: Figures
    after: Figures | None = None
    quality: Quality | None = None
    equality: Equality | None = None
    opinion: Opinion | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    output: Path | None = None
    plan_output: Path | None = None
    labels_output: Path | None = None
    search: Search | None = None
    curve_output: Mapping[str, Path] = field(default_factory=dict)
    quantized: Quantized | None = None
    quantized_output: Path | None = None
    failure: str = ""
    threads: int | None = None
    promise: Promise | None = None
    speedup: Speedup | None = None
    single_speedup: Speedup | None = None
    foreseen: Figures | None = None
    layers: tuple[LayerCost, ...] = ()

    @property
    def written(self) -> Mapping[str, Path]:
        """What was written and where."""
        places = {
            "Model": self.output,
            "Quantized model": self.quantized_output,
            "Plan": self.plan_output,
            "Labels": self.labels_output,
            **{f"Curve ({ending})": path for ending, path in self.curve_output.items()},
        }
        return {what: path for what, path in places.items() if path is not None}

    def to_json(self) -> dict[str, Any]:
        """The result as JSON types."""
        return {
            "version": __version__,
            "format": RESULT_FORMAT,
            "model": str(self.model),
            "output": _text(self.output),
            "plan": _text(self.plan_output),
            "labels": _text(self.labels_output),
            "curve": {ending: str(path) for ending, path in self.curve_output.items()},
            "method": self.plan.method,
            "options": dict(self.plan.options),
            "requested": dict(self.plan.request),
            "reached": dict(self.plan.reached),
            "before": self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
            "foreseen": None if self.foreseen is None else self.foreseen.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
            "quality": None if self.quality is None else self.quality.to_json(),
            "promise": None if self.promise is None else self.promise.to_json(),
            "speedup": None if self.speedup is None else self.speedup.to_json(),
            "single_speedup": None if self.single_speedup is None else self.single_speedup.to_json(),
            "measures": {name: finite(value) for name, value in self.measures.items()},
            "quantized": self._quantized_json(),
            "verification": None if self.equality is None else self.equality.to_json(),
            "opinion": None if self.opinion is None else self.opinion.to_json(),
            "groups": {name: {"size": g.size, "kept": g.kept} for name, g in self.plan.groups.items()},
            "frozen": dict(self.plan.frozen),
            "recovery": dict(self.plan.recovery),
            "classes": dict(self.plan.classes),
            "search": None if self.search is None else self.search.to_json(),
            "skipped": [] if self.data is None else list(self.data.skipped),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    @property
    def measures(self) -> dict[str, float]:
        """What conditions can ask for, by name; nothing before the model is measured."""
        if self.after is None:
            return {}
        return measures(self.before, self.after, self.quality, self.speedup, self.single_speedup)

    def _quantized_json(self) -> dict[str, Any] | None:
        """The quantized model, and what pruning and quantization did apart, as JSON types."""
        found = self.quantized
        if found is None or self.after is None or self.quality is None:
            return None
        changes = effects(self.before, self.after, self.quality, found)
        return {
            "output": str(self.quantized_output),
            "scheme": found.scheme,
            "size": found.size,
            "latency_ms": found.latency_ms,
            "quality": found.quality.to_json(),
            "effects": {name: effect.to_json() for name, effect in changes.items()},
        }


@dataclass(frozen=True, eq=False)
class Finetuned:
    """The result of training.

    Attributes:
        model, teacher: the files.
        recipe: how it was trained, by name.
        history: every epoch; number 0 is before training.
        best: the epoch whose weights are written.
        data: the training data as `calibration`, the validation data as `measured`.
        quality: before and after, on `quality.source`; None where this process is not the first.
        chosen_on_measured: whether the data that was measured on also chose the epoch.
        warnings, notes: sentences for the user.
        output: the file that was written.
    """

    model: Path
    teacher: Path | None
    recipe: Mapping[str, Any]
    history: tuple[Epoch, ...]
    best: Epoch
    data: DataSummary
    quality: Quality | None = None
    chosen_on_measured: bool = True
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    output: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "version": __version__,
            "model": str(self.model),
            "teacher": _text(self.teacher),
            "output": _text(self.output),
            "recipe": dict(self.recipe),
            "history": [epoch.to_json() for epoch in self.history],
            "best": self.best.number,
            "quality": None if self.quality is None else self.quality.to_json(),
            "skipped": list(self.data.skipped),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Iteration:
    """The figures of one iteration of pruning and training.

    Attributes:
        number: from 1.
        macs, params: what is left of the original's, as shares.
        channels: channels that it removed.
        cut, recovered, trained: top-1 on the validation data after each; None where it was not done.
        kept: whether its result stands; else it was undone.
        seconds: that it took.
    """

    number: int
    macs: float
    params: float
    channels: int
    cut: float | None
    recovered: float | None
    trained: float
    kept: bool
    seconds: float


@dataclass(frozen=True)
class Packed:
    """A file that times a network on a device, and how many timings it makes."""

    file: Path
    timings: int


@dataclass(frozen=True, eq=False)
class Iterated:
    """The result of pruning and training in turns.

    Attributes:
        model: the file of the original.
        method: importance method.
        before: top-1 of the original on the validation data; None where no iteration was begun.
        iterations: all of them, the undone ones included.
        ended: why there are no more.
        quality: the result against the original.
        data: the data.
        output: the file that was written.
        folder: where the model and plan of every iteration are.
        on_validation: whether `quality` was measured on the validation data.
        notes: sentences for the user.
    """

    model: Path
    method: str
    before: float | None
    iterations: tuple[Iteration, ...]
    ended: str
    quality: Quality
    data: DataSummary
    output: Path
    folder: Path | None
    on_validation: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "version": __version__,
            "model": str(self.model),
            "output": str(self.output),
            "method": self.method,
            "before": self.before,
            "iterations": [asdict(found) for found in self.iterations],
            "ended": self.ended,
            "quality": self.quality.to_json(),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class LayerTime:
    """Milliseconds of a layer, uncut and at the narrowest that was timed."""

    name: str
    whole: float
    narrowest: float


@dataclass(frozen=True)
class NetworkTime:
    """Milliseconds of a whole network.

    Attributes:
        macs: its multiply-adds.
        share: of the original's; None where the original has none.
        median, p10, p90: measured, with the 10th and the 90th percentile.
        predicted: calculated from the layers.
    """

    macs: float
    share: float | None
    median: float
    p10: float
    p90: float
    predicted: float


@dataclass(frozen=True)
class Profiled:
    """The result of timing a network.

    Attributes:
        table: the file of the latency table.
        device: the machine in words.
        machine: what the timings depend on, by name.
        block: channels that fill one block of the device's kernels.
        noise: median over all timings of (90th - 10th percentile) / median.
        layers: in graph order.
        wholes: the network at several widths, uncut first.
    """

    table: Path
    device: str
    machine: Mapping[str, Any]
    block: int
    noise: float
    layers: tuple[LayerTime, ...]
    wholes: tuple[NetworkTime, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "table": str(self.table),
            "machine": dict(self.machine),
            "block": self.block,
            "noise": self.noise,
            "layers": [
                {"name": layer.name, "whole_ms": layer.whole, "narrowest_ms": layer.narrowest} for layer in self.layers
            ],
            "wholes": [
                {
                    "macs": found.macs,
                    "median_ms": found.median,
                    "p10_ms": found.p10,
                    "p90_ms": found.p90,
                    "predicted_ms": found.predicted,
                }
                for found in self.wholes
            ],
        }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
