"""A small classifier and data that it can learn."""

import functools

import numpy as np
import onnx
from nets import net

from onnxprune.finetune.training.feeding import DecodedSamples
from onnxprune.finetune.training.loop import Task
from onnxprune.finetune.training.objective import Answers
from onnxprune.graph.model import Graph, read_graph

CONVNET = """(float[N, 1, 8, 8] x) => (float[N, 3] y)
    <float[8, 1, 3, 3] w1, float[8] b1, float[8] scale, float[8] shift, float[8] mean, float[8] var,
     float[8, 8, 3, 3] w2, float[8] b2, float[3, 8] wf, float[3] bf>
{
    c1 = Conv<pads=[1, 1, 1, 1]>(x, w1, b1)
    n1 = BatchNormalization(c1, scale, shift, mean, var)
    r1 = Relu(n1)
    c2 = Conv<pads=[1, 1, 1, 1]>(r1, w2, b2)
    r2 = Relu(c2)
    g = GlobalAveragePool(r2)
    f = Flatten(g)
    y = Gemm<transB=1>(f, wf, bf)
}"""

PLAIN = CONVNET.replace("n1 = BatchNormalization(c1, scale, shift, mean, var)\n", "").replace("Relu(n1)", "Relu(c1)")
PLAIN = PLAIN.replace(" float[8] scale, float[8] shift, float[8] mean, float[8] var,", "")


@functools.cache
def graph(text: str = CONVNET, seed: int = 0) -> Graph:
    """Return the graph of a net with random weights."""
    return read_graph(net(text, seed=seed))


def model(text: str = CONVNET, seed: int = 0) -> onnx.ModelProto:
    """Return the net itself."""
    return net(text, seed=seed)


def samples(count: int, seed: int) -> DecodedSamples:
    """Return images with upright stripes, with level ones, or with none."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = 0.3 * rng.standard_normal((count, 1, 8, 8)).astype(np.float32)
    stripes = np.tile(np.array([1, -1], np.float32), 4)
    images[labels == 0] += stripes
    images[labels == 1] += stripes[:, None]
    return DecodedSamples({"x": images}, labels)


def task(text: str = CONVNET, *, count: int = 96, teacher: Graph | None = None, labels: bool = True) -> Task:
    """Return the training of a net on such images."""
    training, validation = samples(count, 1), samples(48, 2)
    if not labels:
        training, validation = (DecodedSamples(found.arrays, None) for found in (training, validation))
    return Task(graph(text), training, validation, Answers(0), teacher)


__all__ = ["CONVNET", "PLAIN", "graph", "model", "samples", "task"]
