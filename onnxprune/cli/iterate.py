"""`onnxprune iterate MODEL --data PATH`: prune and train in turns."""

from onnxprune.cli.options import Talk, job
from onnxprune.pipeline.config.jobs import IterateConfig


@job(
    IterateConfig,
    examples=(
        "onnxprune iterate model.onnx --data train/ --method catro --macs 40% --iterations 5 --epochs 2",
        "onnxprune iterate model.onnx --data train/ --method class-aware --l1 0.0001 --orthogonal 0.01",
    ),
)
def iterate(config: IterateConfig, talk: Talk) -> None:
    """Prune in small steps with training in between: score, remove, recover, train, and check what was lost.

    Each iteration begins with the result of the one before, which stays in the work folder with its plan. An iteration
    that falls under the floor is undone, and the last one that stands is written. Exit codes are those of `prune`.
    """
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.outcome import told
    from onnxprune.cli.piped import refuse_pipe
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.pipeline.iterate import iterate as work
    from onnxprune.report.iterating import iterated_blocks

    refuse_pipe(config.output, "iterate")
    with open_listener(talk) as listener:
        try:
            found = work(config, listener)
        except KeyboardInterrupt as stopped:
            if not config.work_folder.is_dir():
                raise
            kept = f"interrupted; the iterations that were finished are in {config.work_folder}, go on with --resume"
            raise type(stopped)(kept) from None
    with told([found.output]):
        if talk.as_json:
            print_json(found.to_json())
        else:
            print_blocks(iterated_blocks(found, verbose=talk.verbose))
