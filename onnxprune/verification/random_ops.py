"""Networks with ops that draw random numbers, and seeds for these."""

import zlib

import onnx

_DRAWING = frozenset(
    "Bernoulli Dropout Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)


def with_seeds(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with a seed, made of its output's name, on every node that draws random numbers and has none.

    The runtime seeds them by their place among the nodes, so two networks with one node more or less would draw
    different numbers. A model without such nodes is returned as it is.
    """
    free = [
        index
        for index, node in enumerate(model.graph.node)
        if node.op_type in _DRAWING and not node.domain and all(entry.name != "seed" for entry in node.attribute)
    ]
    if not free:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for index in free:
        node = result.graph.node[index]
        place = zlib.crc32(node.output[0].encode())
        # A float holds whole numbers up to 2 ** 24; an integer seed (Dropout) takes the same ones.
        number = place % (1 << 24)
        node.attribute.append(
            onnx.helper.make_attribute("seed", number if node.op_type == "Dropout" else float(number))
        )
    return result
