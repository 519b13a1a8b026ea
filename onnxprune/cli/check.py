"""`onnxprune check MODEL --against ORIGINAL`: whether a file is what its plan says."""

from onnxprune.cli.options import Talk, job
from onnxprune.pipeline.config.jobs import CheckConfig


@job(
    CheckConfig,
    examples=(
        "onnxprune check model.pruned.onnx --against model.onnx",
        "onnxprune check small.onnx --against model.onnx --plan small.plan.json --data calib/ --require-proof",
    ),
    without=("verbose",),
)
def check(config: CheckConfig, talk: Talk) -> None:
    """Show once more, in another place, that MODEL is what its plan makes of the original.

    The original is cut by the plan, the cut is compared with the masked original as ever, and the file with the cut:
    the same graph and integers, and where the plan says that weights are recovered, numbers in their places. Nothing is
    written.

    Exit codes: 0 it is, 2 bad input or usage, 3 it is not.
    """
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.pipeline.check import check as work
    from onnxprune.report.checking import checked_blocks

    with open_listener(talk) as listener:
        found = work(config, listener)
    if talk.as_json:
        print_json(found.to_json())
    else:
        print_blocks(checked_blocks(found))
