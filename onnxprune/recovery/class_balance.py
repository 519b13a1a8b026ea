"""Class balance: the bias of the classifier by which its probabilities come nearest to the original's.

Least squares of the scores leave some classes said too rarely, which then pay for the cut. A bias for every class, by
which the divergence from the original's probabilities is least, makes up for that. No label is used.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from scipy.optimize import minimize
from scipy.special import log_softmax

from onnxprune.analysis.head import class_axis
from onnxprune.graph.model import Graph, read_graph
from onnxprune.linear.layers import Layer, find_layers
from onnxprune.linear.walk import Walk
from onnxprune.recovery.products import wanted
from onnxprune.recovery.recovery import RecoveryTask
from onnxprune.recovery.shifts import find_shift
from onnxprune.recovery.stored import WeightEditor
from onnxprune.recovery.walks import walk_both
from onnxprune.values.axes import FloatArray

SPREAD = 0.3
"""Standard deviation that a class's bias is expected to have, in units of the scores (natural logarithms)."""

SOFTMAX = frozenset({"Softmax", "LogSoftmax"})

SAME_NUMBERS = frozenset({"Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""What may stand between the scores and the output: one number for each class on both sides."""


def score_tensors(graph: Graph, *, classes: bool) -> frozenset[str]:
    """Return the tensors that hold the scores of the classes, one for each, before any softmax; none: none is known to.

    Args:
        graph: of the model.
        classes: whether an output of shape [N, C] is one of scores; without, a softmax has to say so.
    """
    axis = class_axis(graph)
    if axis is None:
        return frozenset()
    tensor, softmax = axis.ref.name, False
    count = graph.facts.shapes[0][tensor][axis.dim]
    found = [tensor]
    while tensor in graph.producers:
        node = graph.producers[tensor]
        if node.domain or node.op not in SOFTMAX | SAME_NUMBERS or (node.op in SOFTMAX and softmax):
            break
        if node.op in SOFTMAX:
            if graph.facts.shapes[0][tensor][node.attrs.get("axis", -1)] != count:
                return frozenset()
            softmax, found = True, []
        tensor = node.inputs[0]
        found.append(tensor)
    return frozenset(found if softmax or classes else ())


def balance(
    layer: Layer,
    graph: Graph,
    weights: WeightEditor,
    truths: Sequence[FloatArray],
    student: Walk,
    task: RecoveryTask,
) -> None:
    """Give the layer that makes the scores the bias that fits the samples to fit to, see `class_bias`.

    Args:
        layer: makes the scores.
        graph: of the pruned model.
        weights: of it, some of which are replaced.
        truths: the scores of the original, call by call.
        student: a walk of the pruned model.
        task: says how many of the last calls only judge.
    """
    shift = find_shift(graph, layer)
    fitted = len(truths) - task.judging
    if shift is None or not fitted:
        return
    found = [part[layer.target] for part in student.run([], [layer.target])]
    bias = class_bias(*(np.concatenate([_rows(part) for part in parts[:fitted]]) for parts in (truths, found)))
    if np.isfinite(bias).all():
        shift.add(weights, bias / layer.slope)


def balanced(task: RecoveryTask, model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model behind a recovery, which may be the same, with the bias that `balance` gives it."""
    graph = read_graph(model)
    scores = score_tensors(graph, classes=task.classes)
    layer = next((layer for layer in find_layers(graph)[0] if layer.target in scores), None)
    if layer is None:
        return model
    weights = WeightEditor(model)
    teacher, student = walk_both(task, weights.model, graph)
    keep = wanted(task.mixed, task.masks, layer.target)
    truths = [keep(found[layer.target]) for found in teacher.run([], [layer.target])]
    balance(layer, graph, weights, truths, student, task)
    return weights.model


def class_bias(truth: FloatArray, found: FloatArray) -> FloatArray:
    """Return the bias b, [C], with the least mean divergence of softmax(found + b) from softmax(truth).

    A normal prior of deviation `SPREAD` draws it towards nothing where samples are few. The problem is convex.

    Args:
        truth: scores of the original, [samples, C].
        found: scores of the pruned model, [samples, C].
    """
    probabilities = np.exp(log_softmax(truth, axis=1))
    ridge = 0.5 / (SPREAD**2 * len(truth))

    def loss(bias: FloatArray) -> tuple[float, FloatArray]:
        logs = log_softmax(found + bias, axis=1)
        value = -(probabilities * logs).sum() / len(truth) + ridge * float(np.square(bias).sum())
        return value, (np.exp(logs) - probabilities).mean(axis=0) + 2 * ridge * bias

    return np.asarray(minimize(loss, np.zeros(truth.shape[1]), jac=True, method="L-BFGS-B").x)


def _rows(scores: FloatArray) -> FloatArray:
    return scores.reshape(len(scores), -1).astype(np.float64)
