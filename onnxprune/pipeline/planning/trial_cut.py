"""Cutting and recovering in memory, to look at what a plan would leave."""

from collections.abc import Mapping
from contextlib import suppress

from onnxprune.errors import InputError
from onnxprune.pipeline.context import Run
from onnxprune.recovery.recovery import in_trials, steps
from onnxprune.recovery.run import obstacle, recover_steps
from onnxprune.surgery.cut import Cut, cut
from onnxprune.values.axes import BoolArray


def recovered_cut(run: Run, keep: Mapping[str, BoolArray]) -> Cut:
    """Cut the original and recover it in memory, as the final result will be or by what stands for that, unchecked."""
    graph, name, result = run.model.graph, in_trials(run.config.recovery), cut(run.analysis, keep)
    if run.samples is None or not steps(name) or obstacle(graph) is not None:
        return result
    samples, config = run.samples, run.config
    with suppress(InputError):  # what cannot be run piece by piece stays as it is by then, as the final result will
        for step in recover_steps(
            graph, result, samples.fit, samples.judge, name, memory=config.memory, seed=config.seed
        ):
            result = result if step.dropped else step.cut
    return result
