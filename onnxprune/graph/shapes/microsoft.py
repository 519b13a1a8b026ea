"""Shapes of what onnxruntime's own ops make, which onnx has no inference for."""

from collections.abc import Callable, Mapping, Sequence

import onnx
from onnx import TypeProto

from onnxprune.graph.layers.quantized import MICROSOFT

Shape = tuple[int, ...]
_Shapes = Sequence[Shape | None]


def shaped_by(node: onnx.NodeProto, types: Mapping[str, TypeProto]) -> dict[str, TypeProto]:
    """Return the types of the results of a node of com.microsoft; nothing where the op is not known here."""
    make = _MAKERS.get(node.op_type) if node.domain == MICROSOFT else None
    shapes = [_shape(types.get(name)) if name else () for name in node.input]
    if make is None or not shapes or shapes[0] is None:
        return {}
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    kind = next(types[name].tensor_type.elem_type for name in _floats_first(node, types))
    made = make(attributes, shapes)
    return {
        name: onnx.helper.make_tensor_type_proto(kind, shape)
        for name, shape in zip(node.output, made, strict=False)
        if name and shape is not None
    }


def _floats_first(node: onnx.NodeProto, types: Mapping[str, TypeProto]) -> list[str]:
    """Return the inputs, those of whole numbers (token ids) last: results are of the type of the first."""
    whole = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    known = [name for name in node.input if name in types]
    return sorted(known, key=lambda name: types[name].tensor_type.elem_type in whole)


def _shape(kind: TypeProto | None) -> Shape | None:
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    return tuple(dim.dim_value for dim in kind.tensor_type.shape.dim)


def _like_first(_: Mapping[str, object], shapes: _Shapes) -> list[Shape | None]:
    return [shapes[0]]


def _skip_norm(_: Mapping[str, object], shapes: _Shapes) -> list[Shape | None]:
    return [shapes[0], None, None, shapes[0]]


def _embedded(_: Mapping[str, object], shapes: _Shapes) -> list[Shape | None]:
    tokens, table = shapes[0], shapes[2]
    if tokens is None or table is None:
        return [None]
    return [(*tokens, table[-1]), None, (*tokens, table[-1])]


def _attended(attributes: Mapping[str, object], shapes: _Shapes) -> list[Shape | None]:
    tokens, weight = shapes[0], shapes[1]
    if tokens is None or weight is None:
        return [None]
    sizes = attributes.get("qkv_hidden_sizes")
    return [(*tokens[:-1], sizes[2] if isinstance(sizes, Sequence) else weight[-1] // 3)]


def _many_heads(_: Mapping[str, object], shapes: _Shapes) -> list[Shape | None]:
    query, value = shapes[0], shapes[2] if len(shapes) > 2 else None
    plain = query is not None and value is not None and len(query) == len(value) == 3
    return [(*query[:-1], value[-1]) if plain and query and value else None]


def _of_shared_heads(attributes: Mapping[str, object], shapes: _Shapes) -> list[Shape | None]:
    """Keys and values up to now are those of the past, where the length is not known, and the new ones.

    Where no keys are given, they lie behind the queries, and the values behind them.
    """
    query, past = shapes[0], shapes[3] if len(shapes) > 4 else None
    if query and len(shapes) > 1 and shapes[1] == ():
        heads, shared = attributes.get("num_heads"), attributes.get("kv_num_heads")
        if not isinstance(heads, int) or not isinstance(shared, int):
            return [None]
        query = (*query[:-1], query[-1] // (heads + 2 * shared) * heads)
    if query is None or past is None or len(past) != 4 or len(query) != 3:
        return [query]
    until_now = (*past[:2], past[2] + query[1], past[3])
    return [query, until_now, until_now]


def _of_columns(attributes: Mapping[str, object], shapes: _Shapes) -> list[Shape | None]:
    columns = attributes.get("N")
    return [(*shapes[0][:-1], columns) if shapes[0] is not None and isinstance(columns, int) else None]


def _product(attributes: Mapping[str, object], shapes: _Shapes) -> list[Shape | None]:
    a, b = shapes[0], shapes[1]
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return [None]
    rows = a[-1] if attributes.get("transA") else a[-2]
    columns = b[-2] if attributes.get("transB") else b[-1]
    batch = [
        max(sizes) for sizes in zip(*(_padded(shape[:-2], max(len(a), len(b)) - 2) for shape in (a, b)), strict=True)
    ]
    return [(*batch, rows, columns)]


def _padded(shape: Shape, rank: int) -> Shape:
    return (1,) * (rank - len(shape)) + shape


_MAKERS: Mapping[str, Callable[[Mapping[str, object], _Shapes], list[Shape | None]]] = {
    "Attention": _attended,
    "BiasGelu": _like_first,
    "EmbedLayerNormalization": _embedded,
    "FastGelu": _like_first,
    "FusedMatMul": _product,
    "Gelu": _like_first,
    "GroupQueryAttention": _of_shared_heads,
    "MatMulNBits": _of_columns,
    "MultiHeadAttention": _many_heads,
    "RotaryEmbedding": _like_first,
    "SkipLayerNormalization": _skip_norm,
    "SkipSimplifiedLayerNormalization": _skip_norm,
}
