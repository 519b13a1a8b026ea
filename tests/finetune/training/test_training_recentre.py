from typing import Any

import numpy as np
import pytest
from nets import net

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from onnxprune.finetune.interpreter.module import GraphModule  # noqa: E402
from onnxprune.finetune.training.recentre import recentre  # noqa: E402
from onnxprune.graph.model import Graph, read_graph  # noqa: E402

TWO = """(float[n, 3, 5, 5] x) => (float[n, 4] y)
    <float[4, 3, 1, 1] w, float[4] s1, float[4] b1, float[4] m1, float[4] v1,
     float[4, 4, 3, 3] u, float[4] s2, float[4] b2, float[4] m2, float[4] v2> {
        c = Conv(x, w)
        n1 = BatchNormalization<epsilon = 0.01>(c, s1, b1, m1, v1)
        r = Relu(n1)
        d = Conv(r, u)
        n2 = BatchNormalization(d, s2, b2, m2, v2)
        g = GlobalAveragePool(n2)
        y = Flatten(g)
    }"""


def made(text: str = TWO) -> tuple[Graph, GraphModule, Any]:
    graph = read_graph(net(text))
    x = 3 + 2 * torch.from_numpy(np.random.default_rng(0).standard_normal((40, 3, 5, 5)).astype(np.float32))
    return graph, GraphModule(graph), x


def test_outputs_stay_and_training_begins_with_them() -> None:
    graph, module, x = made()
    with torch.no_grad():
        before = module.eval()(x)
        assert not torch.allclose(module.train()(x), before, rtol=0.1, atol=0.1), "the batch is another than remembered"
    graph, module, x = made()
    module.train()
    assert recentre(graph, module, [[x[:10]], [x[10:]]]) == 2
    assert module.training
    with torch.no_grad():
        torch.testing.assert_close(module(x), before, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(module.eval()(x), before, rtol=1e-3, atol=1e-3)


def test_statistics_are_those_of_the_samples() -> None:
    graph, module, x = made()
    recentre(graph, module, [[x]])
    read = module.eval().traced([x], {"c"})[1]["c"].detach()
    torch.testing.assert_close(module.state_dict()["m1"], read.mean((0, 2, 3)))
    torch.testing.assert_close(module.state_dict()["v1"], read.var((0, 2, 3), correction=0))


def test_a_channel_that_is_always_the_same_stays_finite() -> None:
    graph, module, x = made()
    with torch.no_grad():
        module.trained()["w"][1] = 0
    before = module.eval()(x).detach()
    recentre(graph, module, [[x]])
    after = module(x).detach()
    assert torch.isfinite(after).all()
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


def test_what_is_not_trained_or_is_shared_stays() -> None:
    graph, module, x = made()
    for name in ("s1", "b1"):
        module.trained()[name].requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert recentre(graph, module, [[x]]) == 1
    after = module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in ("s1", "b1", "m1", "v1", "w", "u"))
    assert not torch.equal(after["m2"], before["m2"])
    graph, module, x = made(TWO.replace("(d, s2,", "(d, s1,").replace(" float[4] s2,", ""))
    assert recentre(graph, module, [[x]]) == 0
    assert recentre(*made("(float[n, 3] x) => (float[n, 3] y) { y = Relu(x) }")[:2], [[x]]) == 0
