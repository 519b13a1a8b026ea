"""`onnxprune compare MODEL OTHER`: two models of the same task side by side."""

from pathlib import Path

from onnxprune.cli.options import Talk, job
from onnxprune.pipeline.config.jobs import CompareConfig


@job(
    CompareConfig,
    examples=(
        "onnxprune compare model.onnx model.pruned.onnx --data test/",
        "onnxprune compare a.onnx b.onnx --data test/ --fail-if 'top1_drop_upper > 1' --markdown summary.md",
    ),
)
def compare(config: CompareConfig, talk: Talk) -> None:
    """Measure OTHER against MODEL: accuracy, outputs, size, multiply-adds and latency, whoever made it.

    Both see the same samples, scaled as MODEL is best with, and are timed in turn. All data are measured on, so take
    such as neither model was made with.

    Exit codes: 0 done, 1 a condition of --fail-if holds, 2 bad input or usage.
    """
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.outcome import pages_of, told
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.pipeline.compare import compare as work
    from onnxprune.report.comparing import compared_blocks, compared_title
    from onnxprune.values.compared import Compared

    def pages(found: Compared) -> dict[Path, bytes]:
        return pages_of(config, compared_title(found), compared_blocks(found, whole=True, page=True))

    with open_listener(talk) as listener:
        found = work(config, listener, pages)
    with told(path for path in config.pages.values() if path is not None):
        if talk.as_json:
            print_json(found.to_json())
        else:
            print_blocks(compared_blocks(found, whole=talk.verbose))
