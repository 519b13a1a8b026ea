"""The main job: from a model and a folder of samples to a smaller model that is checked, measured and then written."""

from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.context import Run
from onnxprune.pipeline.events import NULL_LISTENER, Listener
from onnxprune.pipeline.execution.accept import accept
from onnxprune.pipeline.execution.cut import confirmed, cut_and_verify
from onnxprune.pipeline.execution.evaluate import evaluate
from onnxprune.pipeline.execution.recover import recover
from onnxprune.pipeline.execution.retrain import retrain
from onnxprune.pipeline.execution.write import write, write_plan
from onnxprune.pipeline.extra import Extra, no_extra
from onnxprune.pipeline.opening import open_run
from onnxprune.pipeline.outline import outline
from onnxprune.pipeline.planned import Planned
from onnxprune.pipeline.planning.make import make_plan
from onnxprune.pipeline.state import removed_once_written
from onnxprune.values.results import Result


def prune(config: PruneConfig, listener: Listener = NULL_LISTENER, extra: Extra = no_extra) -> Result:
    """Prune a model.

    Nothing is written unless every check holds; then the plan, what `extra` makes, and the model are, all in one step.

    Args:
        config: what to do, and how.
        listener: hears what is done.
        extra: makes of the result what else is to be written, by path.

    Raises:
        InputError: bad input or usage.
        UnreachableError: a budget that cannot be met, nothing to prune, or a poor result nobody asked for.
        VerificationError: the cut model failed a check.
    """
    with open_run(config, listener, extra) as run:
        listener.hear(outline(run))
        planned = make_plan(run)
        return write_plan(run, planned) if config.dry_run else carry_out(run, planned)


def carry_out(run: Run, planned: Planned) -> Result:
    """Carry out a plan: cut, verify, recover, train, measure, judge and write.

    Raises:
        As `prune`.
    """
    with removed_once_written(run.state):
        pruned = confirmed(run, retrain(run, recover(run, cut_and_verify(run, planned))))
        return write(run, pruned, accept(run, evaluate(run, pruned), planned))
