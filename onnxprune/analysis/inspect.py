"""What can be cut of a model: its channel groups, what is frozen and why, and the costs of the whole file."""

from collections.abc import Collection
from dataclasses import replace

from onnxprune.analysis.analyse import analyse
from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.head import class_axis, head_obstacle
from onnxprune.errors import UnreachableError
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.measures import count_params
from onnxprune.values.costs import Kind


def inspect(model: Model, *, allow: Collection[str] = (), trim_head: bool = False) -> Analysis:
    """Find the channel groups of a model, what is frozen and why, and the costs.

    Args:
        model: see `load`.
        allow: what may be cut too: `approximate`, groups that a normalisation runs over, whose result is not that of
            zeroing; `interface`, states that an output hands out and an input takes in again, at both ends alike.
        trim_head: whether the classes of the classifier's output are a group of their own that can be cut, see `plan`.

    Raises:
        UnreachableError: the head is to be trimmed, and this model's cannot be.
    """
    head = class_axis(model.graph) if trim_head else None
    analysis = analyse(model.graph, approximate="approximate" in allow, interface="interface" in allow, head=head)
    if not trim_head:
        return _with_whole_file(analysis, model)
    obstacle = head_obstacle(analysis.graph, analysis.labelled, analysis.groups, head)
    if obstacle is not None:
        raise UnreachableError(
            f"The classifier of {model.path.name} cannot be cut to some of its classes: {obstacle}.",
            "unsupported-model",
        )
    return _with_whole_file(analysis, model)


def _with_whole_file(analysis: Analysis, model: Model) -> Analysis:
    """Count what no width has a say in: weights that nothing is cut of, and all of the file that is no weight."""
    costs = analysis.costs
    others: dict[Kind, float] = {
        "params": count_params(model.proto) - costs.whole_of("params"),
        "bytes": model.size - costs.whole_of("bytes"),
    }
    return replace(analysis, costs=replace(costs, others=others))
