"""Structure checks, digests and parameter counts of a model as a file."""

import numpy as np
import onnx
import pytest
from nets import net
from refusals import refused

from onnxprune.graph.checking import check_structure
from onnxprune.graph.storage.detached import HEAVY_ELEMENTS, without_heavy_initializers
from onnxprune.graph.storage.measures import count_params, digest

# w0 has more elements than a light copy keeps
HEAVY = """(float[n, 40] x) => (float[n, 5] y) <float[40, 60] w0, float[60] b0, float[60, 5] w1> {
    a = MatMul(x, w0)
    c = Add(a, b0)
    y = MatMul(c, w1)
}"""


def resized(model: onnx.ModelProto, name: str, *shape: int) -> onnx.ModelProto:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ones(shape, dtype=np.float32), name))
    return model


def test_a_valid_model_passes_and_stays_as_it_is() -> None:
    model = net(HEAVY)
    before = model.SerializeToString(deterministic=True)
    check_structure(model)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("name", "shape"), [("w0", (40, 59)), ("w0", (39, 60)), ("b0", (61,)), ("w1", (59, 5)), ("w1", (60, 6))]
)
def test_shapes_that_do_not_fit_are_refused_whether_the_weight_is_detached_or_not(
    name: str, shape: tuple[int, ...]
) -> None:
    with refused("invalid-model"):
        check_structure(resized(net(HEAVY), name, *shape))


def test_a_read_of_nothing_is_refused() -> None:
    model = net(HEAVY)
    model.graph.node[1].input[0] = "missing"
    with refused("invalid-model", "'missing'"):
        check_structure(model)


def test_an_unknown_op_and_a_wrong_attribute_are_refused() -> None:
    model = net(HEAVY)
    model.graph.node[1].op_type = "Addd"
    with refused("invalid-model", "Addd"):
        check_structure(model)
    model = net(HEAVY)
    model.graph.node[1].attribute.append(onnx.helper.make_attribute("speed", 1))
    with refused("invalid-model", "speed"):
        check_structure(model)


def test_a_stale_value_info_is_refused() -> None:
    model = net(HEAVY)
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, ["n", 61]))
    with refused("invalid-model"):
        check_structure(model)


def test_heavy_weights_become_typed_inputs_and_light_ones_stay() -> None:
    model = net(HEAVY)
    light = without_heavy_initializers(model)
    assert [tensor.name for tensor in light.graph.initializer] == ["b0", "w1"]
    (detached,) = [value for value in light.graph.input if value.name == "w0"]
    assert [dim.dim_value for dim in detached.type.tensor_type.shape.dim] == [40, 60]
    assert light.ByteSize() < 4 * HEAVY_ELEMENTS + 1000


def test_a_digest_is_deterministic() -> None:
    assert digest(net(HEAVY)) == digest(net(HEAVY))
    again = onnx.ModelProto.FromString(net(HEAVY).SerializeToString())
    assert digest(again) == digest(net(HEAVY))


@pytest.mark.parametrize("name", ["w0", "b0", "w1"])
def test_a_digest_changes_with_one_bit_of_any_weight(name: str) -> None:
    model = net(HEAVY)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            value = np.array(onnx.numpy_helper.to_array(tensor))
            value.flat[-1] = np.nextafter(value.flat[-1], np.float32(9))
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    assert digest(model) != digest(net(HEAVY))


def test_a_digest_changes_with_the_graph_and_the_metadata() -> None:
    known = digest(net(HEAVY))
    renamed = net(HEAVY)
    renamed.graph.node[0].name = "first"
    assert digest(renamed) != known
    noted = net(HEAVY)
    noted.metadata_props.add(key="author", value="me")
    assert digest(noted) != known
    turned = resized(net(HEAVY), "w0", 40, 60)
    other = resized(net(HEAVY), "w0", 60, 40)
    assert digest(turned) != digest(other)


def test_params_are_the_elements_of_float_constants() -> None:
    model = net(HEAVY)
    assert count_params(model) == 40 * 60 + 60 + 60 * 5
    shape = onnx.numpy_helper.from_array(np.array([1, 2, 3]), "shape")
    model.graph.initializer.append(shape)
    value = onnx.numpy_helper.from_array(np.ones((2, 3), dtype=np.float16), "half")
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["half"], value=value))
    assert count_params(model) == 40 * 60 + 60 + 60 * 5 + 6


DEPRECATED = """(float[n, 3, 4, 4] x) => (float[n, 4, 4, 4] y)
    <float[8, 3, 1, 1] w0, float[2] s, float[2] b, float[4, 8, 1, 1] w1> {
        c = Conv(x, w0)
        d = GroupNormalization<num_groups = 2>(c, s, b)
        y = Conv(d, w1)
    }"""


def test_what_the_original_is_blamed_for_is_no_news() -> None:
    model = net(DEPRECATED, opset=18)
    with refused("invalid-model", "GroupNormalization", "deprecated"):
        check_structure(model)
    check_structure(model, model)


def test_a_new_fault_behind_one_of_the_original_is_refused() -> None:
    model, other = net(DEPRECATED, opset=18), net(DEPRECATED, opset=18)
    other.graph.node[2].attribute.append(onnx.helper.make_attribute("speed", 1))
    with refused("invalid-model", "speed"):
        check_structure(other, model)
    with refused("invalid-model"):
        check_structure(resized(net(DEPRECATED, opset=18), "w0", 8, 3), model)


def test_a_wrong_recorded_shape_of_the_original_is_no_news() -> None:
    model = net(HEAVY)
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, ["n", 61]))
    check_structure(model, model)
