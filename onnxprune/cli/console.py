"""What is said on stderr while a command runs."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from onnxprune.analysis.analyse import Analysis
from onnxprune.cli.preprocessing import describe
from onnxprune.cli.progress import Meter
from onnxprune.pipeline import events
from onnxprune.pipeline.samples import Samples
from onnxprune.report.blocks import Block, filled, plain
from onnxprune.report.stages import groups_line, least_line, original_line, preset_table, skipped_lines
from onnxprune.report.terminal import open_console, show

FEW = 3
"""Skipped files that are named without -v."""


class Voice:
    """Messages and progress of one command."""

    def __init__(self, console: Console, meter: Meter, *, verbose: bool, quiet: bool) -> None:
        """Speak on `console`; `quiet` silences everything."""
        self.meter = meter
        self._console = console
        self._verbose = verbose
        self._quiet = quiet

    def say(self, text: str) -> None:
        """Print a message."""
        if not self._quiet:
            self._console.print(Text(plain(text)))

    def _show(self, block: Block) -> None:
        if not self._quiet:
            show(filled(block), self._console)

    def tell(self, stage: str, value: Any) -> None:
        """Tell what a stage of the pipeline found."""
        if stage == "working":
            self.meter.working(value)
        elif stage == "analysis":
            self._analysis(value)
        elif stage == "least":
            self.say(least_line(value))
        elif stage == "samples":
            self._samples(value)
        elif stage == "training samples":
            self._samples(value, "Training on {} samples, validation on {} others.")
        elif stage == "resumed":
            self.say(value)
        elif stage == "iteration":
            self.say(f"{value}:")

    def _analysis(self, analysis: Analysis) -> None:
        self.say(f"Found {groups_line(analysis.groups)}.")

    def _samples(self, samples: Samples, use: str = "Scores from {} samples, measured on {} others.") -> None:
        self._show(skipped_lines(samples.skipped, None if self._verbose else FEW))
        self._show(preset_table(samples.presets))
        self.say(f"Preprocessing: {scaling_words(samples)}.")
        if samples.original is not None:
            self.say(f"{original_line(samples.original)}.")
        if samples.classes:
            self.say(f"Classes: {', '.join(samples.classes)}; all samples and accuracies are of these alone.")
        self.say(use.format(len(samples.calibration), len(samples.measured)))
        if samples.held is not None:
            self.say(f"Plans are tried on {len(samples.held)} more of them, which no score sees.")


def scaling_words(samples: Samples) -> str:
    """Return how pixels are treated, in words."""
    if samples.calibration.preprocessed:
        return samples.scaling
    return f"{samples.scaling}: {describe(samples.calibration.preprocess)}"


@contextmanager
def open_voice(flags: Mapping[str, Any]) -> Iterator[Voice]:
    """Open the voice that `--verbose` and `--quiet` ask for; no progress bar survives it."""
    console = open_console(sys.stderr)
    with Meter(console, quiet=flags["quiet"]) as meter:
        yield Voice(console, meter, verbose=flags["verbose"], quiet=flags["quiet"])
    if console.is_terminal and not flags["quiet"]:
        console.print()  # the result follows


class ConsoleListener:
    """Hears a run for a voice and a table of training."""

    def __init__(self, voice: Voice, watch: Any = None) -> None:
        self.track = voice.meter
        self._voice, self._watch = voice, watch

    def hear(self, event: Any) -> None:
        """Show an event."""
        voice, watch = self._voice, self._watch
        match event:
            case events.Working(what):
                voice.tell("working", what)
            case events.Analysed(analysis):
                voice.tell("analysis", analysis)
            case events.LeastLeft(shares):
                voice.tell("least", shares)
            case events.DataOpened(samples, training):
                voice.tell("training samples" if training else "samples", samples)
            case events.Resumed(message):
                voice.say(message)
            case events.IterationBegun(number):
                voice.say(f"Iteration {number}:")
            case events.BatchTrained(epoch, done, steps, loss, rate) if watch is not None:
                watch.step(epoch, done, steps, loss, rate)
            case events.EpochTrained(epoch, best) if watch is not None:
                watch.epoch(epoch, best)
            case events.TrainingEnded() if watch is not None:
                watch.done()
