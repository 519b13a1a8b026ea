"""`onnxprune methods [NAME]`: the importance methods there are."""

from onnxprune.cli.options import Talk, job
from onnxprune.pipeline.config.jobs import MethodsConfig


@job(
    MethodsConfig,
    examples=(
        "onnxprune methods",
        "onnxprune methods entropy              one method, with its settings",
        "onnxprune model.onnx --data calib/ --method entropy --variant gap",
    ),
    without=("verbose", "quiet"),
)
def methods(config: MethodsConfig, talk: Talk) -> None:
    """List the importance methods: how each scores a channel, what it needs, its settings and where it comes from."""
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.importance.method import METHODS, find_method
    from onnxprune.report.methods import broken_blocks, method_blocks, method_json

    found = list(METHODS.values()) if config.name is None else [find_method(config.name)]
    if talk.as_json:
        print_json([method_json(method) for method in found])
    else:
        broken = {} if config.name is not None else METHODS.broken
        print_blocks([*(block for method in found for block in method_blocks(method)), *broken_blocks(broken)])
