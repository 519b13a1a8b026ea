"""`onnxprune MODEL --data PATH`: the main job."""

from onnxprune.cli.options import Talk, job
from onnxprune.pipeline.config.jobs import PruneConfig


@job(
    PruneConfig,
    examples=(
        "onnxprune model.onnx --data calib/ --method entropy",
        "onnxprune model.onnx --data calib/ --max-drop 0.5 --pareto curve",
        "onnxprune model.onnx --data calib/ --macs 50% -o small.onnx --report small.html",
    ),
)
def prune(config: PruneConfig, talk: Talk) -> None:
    """Prune the channels of an ONNX network by what they mean on sample data.

    The result is cut, checked against the masked original, given new weights that make up for the cut, measured, and
    only then written. Without a budget as much goes as held-out data show to cost at most 1 point of top-1; where they
    are too few to show that, little goes.

    Exit codes: 0 done, 1 the request cannot be met, 2 bad input or usage, 3 the result failed its check.
    """
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.outcome import report_of
    from onnxprune.cli.piped import hand_over, piped
    from onnxprune.pipeline.prune import prune as run

    with piped(config, talk) as (told, pipe):
        with open_listener(talk) as listener:
            try:
                result = run(told, listener, report_of(config))
            except KeyboardInterrupt as stopped:
                if pipe is not None or config.journal is None or not config.journal.exists():
                    raise
                kept = f"interrupted; the steps that were finished are in {config.journal}, go on with --resume"
                raise type(stopped)(kept) from None
        hand_over(result, talk, config, pipe)
