"""Passes over samples that a gradient is taken on: where the class scores are, and the inputs batch by batch."""

from collections.abc import Iterator

import numpy as np
import torch

from onnxprune.data import Batch, Dataset
from onnxprune.errors import InputError
from onnxprune.evaluation import class_output, could_be_another, gives_probabilities
from onnxprune.finetune.interpreter.module import GraphModule
from onnxprune.finetune.training.objective import Answers
from onnxprune.graph.model import Graph
from onnxprune.runtime import open_session
from onnxprune.values.axes import IntArray
from onnxprune.values.progress import Track


def answers_of(graph: Graph, dataset: Dataset) -> Answers:
    """Return where a model has its class scores of the samples.

    Raises:
        InputError: no output has such, or several may and no labels tell which.
    """
    session = open_session(graph.model, graph.weights, name="the model")
    try:
        output, _ = class_output(session, dataset)
    except InputError:
        raise InputError(
            "The method goes by class scores of shape [N, classes], which no output of the model is; take "
            "reconstruction instead.",
            "wrong-outputs",
        ) from None
    if could_be_another(session, dataset):
        raise InputError(
            "The method goes by class scores, and several outputs of the model have the form of such; give labelled "
            "samples, which tell, or take reconstruction instead.",
            "wrong-outputs",
        )
    place = list(graph.outputs).index(output)
    return Answers(place, gives_probabilities(session, dataset, output), dataset.outputs)


def passes(
    module: GraphModule, dataset: Dataset, batch_size: int, track: Track, what: str
) -> Iterator[tuple[Batch, IntArray, list[torch.Tensor]]]:
    """Yield each batch, which of its rows the inputs are of, and the inputs in the order of the module.

    Where the module takes a fixed number of samples, the rows begin anew until there are so many.
    """
    size = module.samples or batch_size
    for batch in track(dataset.batches(size), total=len(dataset), what=what):
        rows = np.arange(size) % len(batch) if module.samples else np.arange(len(batch))
        yield batch, rows, [torch.from_numpy(batch.feeds[name][rows]) for name in module.input_names]
