"""A graph as a torch module: what is trained, ties, batches of a fixed size, running statistics, and the way back."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import net
from numpy.typing import NDArray
from refusals import refused

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from onnxprune.finetune.interpreter.calls import PerCall, batched, run_all  # noqa: E402
from onnxprune.finetune.interpreter.export import trained_model  # noqa: E402
from onnxprune.finetune.interpreter.module import GraphModule  # noqa: E402
from onnxprune.finetune.interpreter.parameters import trained_constants  # noqa: E402
from onnxprune.graph.loaded import load  # noqa: E402
from onnxprune.graph.model import Graph, read_graph  # noqa: E402
from onnxprune.runtime import open_session  # noqa: E402

Array = NDArray[Any]

NORMALISED = """(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
    <float[4, 3, 1, 1] w, float[4] scale, float[4] shift, float[4] mean, float[4] var> {
        c = Conv(x, w)
        y = BatchNormalization<epsilon = 0.01, momentum = 0.7>(c, scale, shift, mean, var)
    }"""

SHARED = """(float[n, 3, 5, 5] x) => (float[n, 3, 5, 5] y) <float[3] s, float[3] b, float[3] t> {
        v = Identity(s)
        c = BatchNormalization(x, s, b, b, v)
        y = BatchNormalization(c, t, b, b, v)
    }"""

FIXED = """(float[2, 3, 4] x) => (float[2, 5] y) <float[12, 5] w, float[5] b> {
        shape = Constant<value = int64[2] {2, 12}>()
        flat = Reshape(x, shape)
        y = Gemm(flat, w, b)
    }"""


def graph_of(text: str, opset: int = 17) -> Graph:
    return read_graph(net(text, opset=opset))


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def session_run(graph: Graph, feeds: Mapping[str, Array]) -> list[Array]:
    return list(open_session(graph.model, graph.weights).run_samples(feeds).values())


def a_step(module: GraphModule, x: Array, rate: float = 0.1) -> None:
    optimizer = torch.optim.SGD(module.parameters(), rate)
    module.train()
    made = module(torch.from_numpy(x))
    (made if isinstance(made, torch.Tensor) else made[0]).square().mean().backward()
    optimizer.step()
    module.eval()


def test_weights_biases_and_scales_are_trained_and_nothing_else() -> None:
    graph = graph_of("""(float[n, 3, 4, 4] x) => (float[n, 2] y)
        <float[3, 1, 1] pixel_mean, float[6, 3, 3, 3] conv_w, float[6] conv_b, float[6] scale, float[6] shift,
         float[6] mean, float[6] var, float[6, 1, 1] bias, float[2, 2] half, float[24, 5] w0, float[5, 2] w1,
         float[2] b1> {
            centred = Sub(x, pixel_mean)
            scaled = Mul(centred, pixel_mean)
            c = Conv(scaled, conv_w, conv_b)
            n = BatchNormalization(c, scale, shift, mean, var)
            moved = Add(n, bias)
            root = Constant<value = float {2.0}>()
            divided = Mul(moved, root)
            shape = Constant<value = int64[2] {0, -1}>()
            flat = Reshape(divided, shape)
            hidden = MatMul(flat, w0)
            mask = Constant<value = float[5] {0.0, -10000.0, 0.0, 0.0, -10000.0}>()
            masked = Add(hidden, mask)
            shares = Softmax(masked)
            y = Gemm(shares, w1, b1)
        }""")
    assert sorted(trained_constants(graph)) == sorted(["conv_w", "conv_b", "scale", "shift", "bias", "w0", "w1", "b1"])


def test_a_weight_behind_a_cast_or_transpose_is_trained_where_it_is_stored() -> None:
    graph = graph_of("""(float[n, 3] x) => (float[n, 4] y) <float16[4, 3] w> {
            t = Transpose(w)
            f = Cast<to = 1>(t)
            y = MatMul(x, f)
        }""")
    module = GraphModule(graph)
    assert list(module.trained()) == ["w"]
    x = noise(2, 3)
    np.testing.assert_allclose(run_all(module, {"x": x}), session_run(graph, {"x": x}), rtol=1e-5, atol=1e-6)
    a_step(module, x)
    model, _ = trained_model(graph, module)
    after = read_graph(model)
    assert after.initializers["w"].data_type == onnx.TensorProto.FLOAT16
    assert not np.array_equal(after.facts.known["w"].first, graph.facts.known["w"].first)


def test_a_tensor_that_two_layers_read_is_one_parameter() -> None:
    graph = graph_of("""(float[n, 4] x) => (float[n, 4] y) <float[4, 4] w, float[4] a, float[4] b> {
            h = Gemm(x, w, a)
            r = Tanh(h)
            y = Gemm<transB = 1>(r, w, b)
        }""")
    module = GraphModule(graph).eval()
    assert sorted(module.trained()) == ["a", "b", "w"]
    x = torch.from_numpy(noise(3, 4))
    module(x).sum().backward()
    w, a, b = (module.trained()[name].detach().clone().requires_grad_() for name in "wab")
    (torch.tanh(x @ w + a) @ w.T + b).sum().backward()
    assert w.grad is not None
    torch.testing.assert_close(module.trained()["w"].grad, w.grad)
    a_step(module, x.numpy())
    model, _ = trained_model(graph, module)
    assert len(model.graph.initializer) == 3
    found, wanted = run_all(module, {"x": x.numpy()}), session_run(read_graph(model), {"x": x.numpy()})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_weight_in_a_constant_node_is_trained_and_written_there() -> None:
    graph = graph_of("""(float[n, 3] x) => (float[n, 2] y) {
            w = Constant<value = float[3, 2] {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}>()
            y = MatMul(x, w)
        }""")
    module, x = GraphModule(graph), noise(4, 3)
    before = run_all(module, {"x": x})
    a_step(module, x)
    model, _ = trained_model(graph, module)
    after = session_run(read_graph(model), {"x": x})
    assert not np.allclose(before, after)
    np.testing.assert_allclose(run_all(module, {"x": x}), after, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_a_graph_of_a_fixed_batch_takes_any_number_of_samples(count: int) -> None:
    graph = graph_of(FIXED)
    module = GraphModule(graph).eval()
    x = noise(count, 3, 4)
    found = batched(module, [torch.from_numpy(x)])
    assert isinstance(found, PerCall)
    with torch.no_grad():
        made = found(torch.from_numpy(x)).numpy()
    assert made.shape == (count, 5)
    for row, sample in zip(made, x, strict=True):
        (alone,) = session_run(graph, {"x": sample[None]})
        np.testing.assert_allclose(row[None], alone, rtol=1e-5, atol=1e-6)


def test_a_fixed_batch_that_nothing_depends_on_is_run_in_one_call() -> None:
    module = GraphModule(graph_of(FIXED.replace("{2, 12}", "{-1, 12}"))).eval()
    x = torch.from_numpy(noise(3, 3, 4))
    assert batched(module, [x]) is module


def test_a_batch_of_one_behind_a_free_input_is_found_out() -> None:
    free = FIXED.replace("float[2, 3, 4]", "float[n, 3, 4]").replace("float[2, 5]", "float[1, 5]")
    graph = graph_of(free.replace("{2, 12}", "{1, 12}"))
    module = GraphModule(graph).eval()
    x = noise(3, 3, 4)
    assert isinstance(batched(module, [torch.from_numpy(x)]), PerCall)
    np.testing.assert_allclose(run_all(module, {"x": x}), session_run(graph, {"x": x}), rtol=1e-5, atol=1e-6)


def test_an_output_of_several_rows_a_sample_keeps_them_all() -> None:
    graph = graph_of("""(float[1, 3, 4] x) => (float[3, 5] y) <float[4, 5] w> {
            shape = Constant<value = int64[2] {3, 4}>()
            rows = Reshape(x, shape)
            y = MatMul(rows, w)
        }""")
    x = noise(2, 3, 4)
    (found,) = run_all(GraphModule(graph), {"x": x})
    assert found.shape == (6, 5)
    np.testing.assert_allclose([found], session_run(graph, {"x": x}), rtol=1e-5, atol=1e-6)


def test_trying_out_a_fixed_batch_leaves_running_statistics_alone() -> None:
    module = GraphModule(graph_of(NORMALISED.replace("[n, ", "[2, "))).train()
    before = module.state_dict()["mean"].clone()
    batched(module, [torch.from_numpy(noise(3, 3, 5, 5))])
    assert torch.equal(module.state_dict()["mean"], before)
    assert module.training


def test_inputs_that_disagree_about_the_number_of_samples_are_refused() -> None:
    graph = graph_of("""(float[1, 4] x, float[2, 4] state) => (float[2, 4] y) { y = Add(x, state) }""")
    inputs = [torch.from_numpy(noise(1, 4)), torch.from_numpy(noise(2, 4))]
    with refused("unsupported-model", "x 1, state 2"):
        batched(GraphModule(graph), inputs)


def torch_twin(graph: Graph) -> Any:
    """Return torch's own layers with the values of NORMALISED."""
    known = {name: torch.from_numpy(graph.facts.known[name].first.copy()) for name in graph.initializers}
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 1, bias=False), torch.nn.BatchNorm2d(4, eps=0.01, momentum=1 - 0.7)
    )
    names = {"0.weight": "w", "1.weight": "scale", "1.bias": "shift", "1.running_mean": "mean", "1.running_var": "var"}
    twin.load_state_dict({key: known[name] for key, name in names.items()}, strict=False)
    return twin


def test_running_statistics_move_as_those_of_torch_do() -> None:
    graph = graph_of(NORMALISED)
    module, twin = GraphModule(graph, statistics="train").train(), torch_twin(graph).train()
    for seed in range(3):
        x = torch.from_numpy(noise(4, 3, 5, 5, seed=seed))
        torch.testing.assert_close(module(x), twin(x))
    torch.testing.assert_close(module.state_dict()["mean"], twin[1].running_mean)
    torch.testing.assert_close(module.state_dict()["var"], twin[1].running_var)
    assert not np.allclose(module.state_dict()["mean"].numpy(), graph.facts.known["mean"].first)
    module(x).square().sum().backward()
    twin(x).square().sum().backward()
    torch.testing.assert_close(module.trained()["w"].grad, twin[0].weight.grad, rtol=1e-4, atol=1e-4)


def test_running_statistics_stay_where_that_is_asked_for_or_nothing_is_trained() -> None:
    graph = graph_of(NORMALISED)
    x = torch.from_numpy(noise(4, 3, 5, 5))
    wanted = torch_twin(graph).eval()(x)
    for module in (GraphModule(graph, statistics="eval").train(), GraphModule(graph, statistics="train").eval()):
        torch.testing.assert_close(module(x), wanted)
        for name in ("mean", "var"):
            assert np.array_equal(module.state_dict()[name].numpy(), graph.facts.known[name].first)


def test_a_copy_goes_by_its_own_mode_and_has_its_own_statistics() -> None:
    graph, x = graph_of(NORMALISED), torch.from_numpy(noise(4, 3, 5, 5))
    module = GraphModule(graph).train()
    copy = deepcopy(module).eval()
    torch.testing.assert_close(copy(x), torch_twin(graph).eval()(x))
    copy.train()(x)
    assert not np.array_equal(copy.state_dict()["mean"].numpy(), module.state_dict()["mean"].numpy())
    assert np.array_equal(module.state_dict()["mean"].numpy(), graph.facts.known["mean"].first)


def test_kernels_of_images_lie_with_their_channels_last() -> None:
    module = GraphModule(graph_of("""(float[n, 3, 5, 5] x) => (float[n, 4, 3, 3] y) <float[4, 3, 3, 3] w> {
        y = Conv(x, w)
    }"""))  # fmt: skip
    assert module.trained()["w"].is_contiguous(memory_format=torch.channels_last)
    assert module(torch.zeros(2, 3, 5, 5)).is_contiguous(memory_format=torch.channels_last)


def test_what_was_learnt_of_statistics_is_written() -> None:
    graph, x = graph_of(NORMALISED), noise(4, 3, 5, 5)
    module = GraphModule(graph)
    a_step(module, x)
    model, _ = trained_model(graph, module)
    after = read_graph(model)
    np.testing.assert_allclose(run_all(module, {"x": x}), session_run(after, {"x": x}), rtol=1e-4, atol=1e-5)
    for name in ("w", "scale", "shift", "mean", "var"):
        assert not np.array_equal(after.facts.known[name].first, graph.facts.known[name].first), name
    assert [node.name for node in model.graph.node] == [node.name for node in graph.model.graph.node]


def test_statistics_that_the_file_stores_once_become_one_for_each_layer_and_not_trained() -> None:
    """Untrained exports do that: all scales and variances are the same ones, all shifts and means the same zeros."""
    model = net(SHARED)
    for tensor in model.graph.initializer:
        value = np.zeros(3, np.float32) if tensor.name == "b" else np.ones(3, np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    graph = read_graph(model)
    module, x = GraphModule(graph), 3 * noise(4, 3, 5, 5) + 2
    assert sorted(module.trained()) == ["b", "s", "t"]
    assert len(module.running) == 4
    assert trained_model(graph, module)[0].SerializeToString() == model.SerializeToString()
    a_step(module, x)
    written, _ = trained_model(graph, module)
    onnx.checker.check_model(written, full_check=True)
    after = read_graph(written)
    np.testing.assert_allclose(run_all(module, {"x": x}), session_run(after, {"x": x}), rtol=1e-4, atol=1e-5)
    state = module.state_dict()
    means = [state[after.nodes[place].inputs[3]] for place in (1, 2)]
    assert means[0].abs().min() > 10 * means[1].abs().max(), "the second layer reads what the first has centred"
    assert not torch.equal(state["b"], means[0])


def test_weights_outside_the_file_are_handed_back_beside_it(tmp_path: Path) -> None:
    model = net("(float[n, 30] x) => (float[n, 40] y) <float[30, 40] w, float[40] b> { y = Gemm(x, w, b) }")
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=1000)
    graph, x = load(tmp_path / "net.onnx").graph, noise(2, 30)
    module = GraphModule(graph)
    assert not trained_model(graph, module)[1].changed
    a_step(module, x)
    written, weights = trained_model(graph, module)
    assert set(weights.changed) == {"w"}
    changed = weights.changed["w"]
    assert np.array_equal(changed() if callable(changed) else changed, module.trained()["w"].detach().numpy())
    (bias,) = (tensor for tensor in written.graph.initializer if tensor.name == "b")
    assert np.array_equal(onnx.numpy_helper.to_array(bias), module.trained()["b"].detach().numpy())


def test_nodes_that_cannot_be_trained_through_are_all_named() -> None:
    graph = graph_of("""(float[n, 3, 4, 4] x) => (float[n, 3, 4, 4] y, float[n, 3] z) {
            a = Det(x)
            pool = GlobalAveragePool(x)
            g = Shrink(pool)
            y = Relu(x)
            z = Add(a, a)
            h = MaxRoiPool<pooled_shape = [1, 1]>(x, g)
        }""")
    with refused("unsupported-model", "Det (node 0)") as caught:
        GraphModule(graph)
    assert "Shrink" not in str(caught.value), "nobody reads what it makes"


def test_several_refused_nodes_are_named_together() -> None:
    graph = graph_of("""(float[n, 3, 4, 4] x) => (float[n, 3, 4, 4] y) { a = Shrink(x) b = Hardmax(a) y = Sinh(b) }""")
    with refused("unsupported-model", "Shrink (", "Hardmax (", "Sinh ("):
        GraphModule(graph)


def test_control_flow_is_refused_with_its_reason() -> None:
    graph = graph_of("""(float[n, 3] x, bool c) => (float[n, 3] y) {
            y = If(c) <then_branch = one () => (float[n, 3] a) { a = Relu(x) },
                       else_branch = two () => (float[n, 3] b) { b = Neg(x) }>
        }""")
    with refused("unsupported-model", "If (", "control flow"):
        GraphModule(graph)


def test_another_number_of_inputs_is_an_error() -> None:
    module = GraphModule(graph_of(FIXED))
    with pytest.raises(ValueError, match=r"takes 1 inputs \(x\)"):
        module(torch.zeros(2, 3, 4), torch.zeros(1))


def test_inner_tensors_are_handed_out_where_they_are_asked_for() -> None:
    graph = graph_of(NORMALISED)
    module, x = GraphModule(graph).eval(), torch.from_numpy(noise(2, 3, 5, 5))
    outputs, inner = module.traced([x], ["c"])
    assert set(inner) == {"c"}
    torch.testing.assert_close(inner["c"], torch_twin(graph)[0](x))
    torch.testing.assert_close(outputs[0], module(x))


def test_a_constant_that_sizes_and_data_both_read_lies_in_both_memories() -> None:
    graph = graph_of("""(float[n, m, 4] x) => (float[a, b] y, float[n, 4] z) <float[4, 4] w> {
            one = Constant<value = int64[1] {1}>()
            shape = Shape(x)
            middle = Gather(shape, one)
            rest = Constant<value = int64[1] {-1}>()
            sizes = Concat<axis = 0>(rest, middle)
            y = Reshape(x, sizes)
            row = Gather<axis = 1>(x, one)
            flat = Squeeze(row, one)
            z = MatMul(flat, w)
        }""")
    module, x = GraphModule(graph).eval(), noise(2, 3, 4)
    for found, wanted in zip(run_all(module, {"x": x}), session_run(graph, {"x": x}), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    made = module.to("meta")(torch.zeros(2, 3, 4, device="meta"))  # which has no numbers that sizes could come from
    assert [tuple(value.shape) for value in made] == [(8, 3), (2, 4)]
    assert all(value.device.type == "meta" for value in made)
