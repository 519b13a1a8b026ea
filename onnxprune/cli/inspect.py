"""`onnxprune inspect MODEL`: what can be pruned, what cannot, and why."""

from onnxprune.cli.options import Talk, job
from onnxprune.pipeline.config.jobs import InspectConfig


@job(
    InspectConfig,
    examples=(
        "onnxprune inspect model.onnx",
        "onnxprune inspect model.onnx --explain conv1.weight:0",
    ),
    without=("quiet",),
)
def inspect(config: InspectConfig, talk: Talk) -> None:
    """List the channel groups of MODEL: width, coupled layers, share of the MACs, and whether they can be pruned.

    A group is channels that have to be removed together. A frozen one has a reason, and --explain shows how that
    reason reaches an axis, node by node. The MACs of a group are those that depend on its width; a layer between two
    groups counts in both, so they add up to more than 100 %.
    """
    from onnxprune.analysis.explain import explain
    from onnxprune.analysis.inspect import inspect as inspected
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.graph import loaded
    from onnxprune.graph.storage.measures import count_params
    from onnxprune.report.inspection import Inspection, explanation_blocks, explanation_json, inspection_blocks

    model = loaded.load(config.model, config.input_shape)
    analysis = inspected(model, allow=config.allow)
    if config.explain is not None:
        found = explain(analysis, config.explain)
        if talk.as_json:
            print_json(explanation_json(found))
        else:
            print_blocks(explanation_blocks(found))
        return
    inspection = Inspection(model.path, analysis, count_params(model.proto), model.size, model.notes)
    if talk.as_json:
        print_json(inspection.to_json())
    else:
        print_blocks(inspection_blocks(inspection, verbose=talk.verbose))
