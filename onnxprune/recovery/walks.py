"""Both networks of a recovery, run piece by piece over its samples."""

import onnx

from onnxprune.graph.model import Graph, read_graph
from onnxprune.linear.walk import Walk
from onnxprune.recovery.recovery import RecoveryTask
from onnxprune.recovery.samples import tensor_bytes


def walk(task: RecoveryTask, model: onnx.ModelProto, graph: Graph, memory: int) -> Walk:
    """Return a walk over the samples of a task, of a model and its graph, which holds up to `memory` bytes."""
    return Walk(model, task.calls, memory=memory, sizes=tensor_bytes(graph, task.calls))


def walk_both(task: RecoveryTask, pruned: onnx.ModelProto, graph: Graph) -> tuple[Walk, Walk]:
    """Return walks of the original and of a pruned model, whose graph is `graph`; they share the task's memory."""
    half = task.memory // 2
    return walk(task, task.original, read_graph(task.original), half), walk(task, pruned, graph, half)
