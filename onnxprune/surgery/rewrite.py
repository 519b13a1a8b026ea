"""Apply edits to a copy of the model, leaving everything else of it byte for byte as it was.

graph-surgeon is the editing view, and it only ever sees the nodes and constants that change: a plain import and export
of the whole graph would lose metadata, value_info and unused initializers. Its result is patched into a copy of the
original.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx_graphsurgeon.logger import G_LOGGER

from onnxprune.graph.model import Graph
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.subgraphs import subgraphs
from onnxprune.graph.storage.weights import clear_value, is_external, mark_changed, named_tensors
from onnxprune.surgery.edits import Edits

# It speaks of types that numpy lacks and of names that it would like to be unique; neither matters to an edit.
G_LOGGER.severity = G_LOGGER.CRITICAL

Array = NDArray[Any]


def edited(graph: Graph, edits: Edits) -> StoredModel:
    """Return a copy of a graph's model with `edits` applied, and all that it refers to; the original is not touched."""
    model, changed = rewrite(graph.model, edits)
    return StoredModel(model, graph.weights.with_changed(changed))


def rewrite(model: onnx.ModelProto, edits: Edits) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return a copy of `model` with `edits` applied, and the new values that it refers to; the original is not touched.

    What lay outside the model stays outside: its tensor is marked as changed and keeps its place in the layout.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    outside = _outside(result, edits)
    inside = replace(edits, tensors={name: edits.tensors[name] for name in edits.tensors if name not in outside})
    touched = _touched(model, inside)
    view = _editing_view(model, touched, inside)
    _edit(view, touched, inside, outside.keys())
    _patch(result, gs.export_onnx(view, do_type_check=False), touched, inside, outside)
    _resize_value_infos(result, edits)
    _leave_out(result, edits)
    _drop_dead(result, model)
    values = {**edits.tensors, **edits.added}
    return result, {name: values[name] for name in outside}


def _outside(result: onnx.ModelProto, edits: Edits) -> dict[str, onnx.TensorProto]:
    """Mark the tensors that change and lie outside the model, and make the copies of such tensors."""
    external = {name: tensor for name, tensor in named_tensors(result.graph).items() if is_external(tensor)}
    copies = {}
    for name, origin in edits.copies.items():
        if origin in external:
            copies[name] = onnx.TensorProto()
            copies[name].CopyFrom(external[origin])
            copies[name].name = name
    changed = {name: external[name] for name in edits.tensors if name in external} | copies
    for name, tensor in changed.items():
        tensor.dims[:] = (edits.tensors[name] if name in edits.tensors else edits.added[name]).shape
        mark_changed(tensor, name)
    return changed


def _editing_view(model: onnx.ModelProto, touched: Sequence[int], edits: Edits) -> gs.Graph:
    """Import the nodes that change; their graph inputs and weights are none of the view's business."""
    holder = onnx.ModelProto(ir_version=model.ir_version)
    holder.opset_import.extend(model.opset_import)
    holder.graph.name = model.graph.name or "graph"
    holder.graph.node.extend(model.graph.node[index] for index in touched)
    for tensor in model.graph.initializer:
        if tensor.name in edits.tensors:
            # The old value is about to be replaced: name and type are all that the view needs.
            stub = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0], raw_data=b"")
            holder.graph.initializer.append(stub)
    return gs.import_onnx(holder)


def _touched(model: onnx.ModelProto, edits: Edits) -> list[int]:
    """Return the numbers of the nodes that change, and of one reader for every initializer that changes."""
    touched = {index for index, _ in (*edits.operands, *edits.attributes)}
    wanted = set(edits.tensors)
    for index, node in enumerate(model.graph.node):
        if node.op_type == "Constant" and node.output[0] in edits.tensors:
            touched.add(index)
        readable = {name for slot, name in enumerate(node.input) if (index, slot) not in edits.operands} & wanted
        if readable and not any(True for _ in subgraphs(node)):
            wanted -= readable
            touched.add(index)
    return sorted(touched)


def _edit(view: gs.Graph, touched: Sequence[int], edits: Edits, outside: AbstractSet[str]) -> None:
    """Make the changes on the view."""
    tensors = view.tensors()
    nodes = dict(zip(touched, view.nodes, strict=True))
    added = {
        name: gs.Variable(name) if name in outside else gs.Constant(name, _plain(value))
        for name, value in edits.added.items()
    }
    for (index, slot), name in edits.operands.items():
        node = nodes[index]
        while len(node.inputs) <= slot:
            node.inputs.append(gs.Variable.empty())
        node.inputs[slot] = added[name]
        if node.op == "Split" and slot == 1:
            node.attrs.pop("num_outputs", None)
    for (index, attribute), value in edits.attributes.items():
        nodes[index].attrs[attribute] = value
    for node in nodes.values():
        if node.op == "Constant" and node.outputs[0].name in edits.tensors:
            value = _plain(edits.tensors[node.outputs[0].name])
            node.attrs = {"value": gs.Constant(node.outputs[0].name, value)}
    for name, value in edits.tensors.items():
        if isinstance(tensors.get(name), gs.Constant):
            tensors[name].values = _plain(value)


def _plain(value: NDArray[Any]) -> NDArray[Any]:
    """Return a value as the view can hold it: of a type that numpy has, or a placeholder (see `_foreign`)."""
    return _contiguous(value) if value.dtype.isbuiltin == 1 else np.zeros(0, dtype=np.uint8)


def _contiguous(value: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(value).reshape(value.shape)


def _foreign(edits: Edits, outside: AbstractSet[str]) -> dict[str, onnx.TensorProto]:
    """Return the values of types that numpy lacks (bfloat16, float8, 4-bit integers), which onnx alone can write."""
    values = {**edits.tensors, **edits.added}
    return {
        name: onnx.numpy_helper.from_array(_contiguous(value), name)
        for name, value in values.items()
        if value.dtype.isbuiltin != 1 and name not in outside
    }


def _patch(
    result: onnx.ModelProto,
    edited: onnx.ModelProto,
    touched: Sequence[int],
    edits: Edits,
    outside: Mapping[str, onnx.TensorProto],
) -> None:
    """Carry the changes of the view over into the copy: inputs and attributes of nodes, values of constants."""
    foreign = _foreign(edits, outside.keys())
    for index, node in zip(touched, edited.graph.node, strict=True):
        target = result.graph.node[index]
        if list(target.input) != list(node.input):
            target.input[:] = node.input
        _patch_attributes(target, node, {name for changed, name in edits.attributes if changed == index}, edits)
        if target.op_type == "Constant" and target.output[0] in foreign:
            target.attribute[0].t.CopyFrom(foreign[target.output[0]])
    values = {tensor.name: tensor for tensor in edited.graph.initializer} | foreign | dict(outside)
    for tensor in result.graph.initializer:
        if tensor.name in edits.tensors:
            _replace_value(tensor, values[tensor.name])
    listed = {value.name for value in result.graph.input}
    every_initializer_listed = all(tensor.name in listed for tensor in result.graph.initializer)
    for name in edits.added:
        result.graph.initializer.append(values[name])
        if result.ir_version < 4 and every_initializer_listed:
            dims = list(values[name].dims)
            result.graph.input.append(onnx.helper.make_tensor_value_info(name, values[name].data_type, dims))


def _patch_attributes(target: onnx.NodeProto, node: onnx.NodeProto, changed: set[str], edits: Edits) -> None:
    is_constant = target.op_type == "Constant" and target.output[0] in edits.tensors
    if is_constant:
        changed = {attribute.name for attribute in target.attribute} | {"value"}
    if target.op_type == "Split":
        changed = changed | {"num_outputs"}
    new = {attribute.name: attribute for attribute in node.attribute}
    kept = []
    for attribute in target.attribute:
        if attribute.name not in changed:
            kept.append(attribute)
        elif attribute.name in new:
            kept.append(new.pop(attribute.name))
    kept.extend(attribute for name, attribute in new.items() if name in changed)
    copies = [onnx.AttributeProto.FromString(attribute.SerializeToString()) for attribute in kept]
    if [a.SerializeToString() for a in copies] != [a.SerializeToString() for a in target.attribute]:
        del target.attribute[:]
        target.attribute.extend(copies)


def _replace_value(tensor: onnx.TensorProto, new: onnx.TensorProto) -> None:
    """Give `tensor` the dims and data of `new`; name, type and documentation stay."""
    clear_value(tensor)
    tensor.dims[:] = new.dims
    tensor.raw_data = new.raw_data


def _resize_value_infos(result: onnx.ModelProto, edits: Edits) -> None:
    """Write the new widths where the file records shapes."""
    widths: dict[str, dict[int, int | None]] = {}
    for (name, axis), width in edits.widths.items():
        widths.setdefault(name, {})[axis] = width
    for name, value in edits.tensors.items():
        widths[name] = dict(enumerate(value.shape))
    _delete_named(result.graph.value_info, edits.stale)
    for info in (*result.graph.value_info, *result.graph.input, *result.graph.output):
        _resize(info, widths.get(info.name, {}))


def _resize(info: onnx.ValueInfoProto, widths: Mapping[int, int | None]) -> None:
    dims = info.type.tensor_type.shape.dim
    for axis, width in widths.items():
        if axis >= len(dims):
            continue
        if width is None:
            dims[axis].Clear()  # the name of a free size stands for the size before the cut
        elif dims[axis].HasField("dim_value") and dims[axis].dim_value != width:
            dims[axis].dim_value = width


def _leave_out(result: onnx.ModelProto, edits: Edits) -> None:
    """Take the dropped operands from sums and Concats, and turn what is idle then into Identity nodes."""
    for index, slot in sorted(edits.dropped, reverse=True):
        del result.graph.node[index].input[slot]
    for index in edits.idle:
        node = result.graph.node[index]
        node.op_type = "Identity"
        del node.attribute[:]


def _drop_dead(result: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Remove nodes and initializers that the edits left without a reader; what was unused before stays."""
    outputs = {value.name for value in result.graph.output}
    stored = {tensor.name for tensor in result.graph.initializer}
    makers = {name: index for index, node in enumerate(result.graph.node) for name in node.output if name}
    reads = Counter(_all_reads(result.graph.node)) + Counter(outputs)
    unused_before = _made(original) - set(_all_reads(original.graph.node))
    waiting = [name for name in (*stored, *makers) if not reads[name] and name not in unused_before]
    dead_nodes: set[int] = set()
    dead: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in stored:
            dead.add(name)
            continue
        index = makers.get(name)
        node = None if index is None else result.graph.node[index]
        if (
            index is None
            or node is None
            or index in dead_nodes
            or any(reads[output] for output in node.output if output)
        ):
            continue
        dead_nodes.add(index)
        dead.update(output for output in node.output if output)
        for read in _all_reads([node]):
            reads[read] -= 1
            if not reads[read]:
                waiting.append(read)
    for index in sorted(dead_nodes, reverse=True):
        del result.graph.node[index]
    _delete_named(result.graph.initializer, dead)
    _delete_named(result.graph.input, dead & stored)  # IR version 3 lists initializers there
    _delete_named(result.graph.value_info, dead)


def _delete_named(field: Any, dead: AbstractSet[str]) -> None:
    for index in reversed(range(len(field))):
        if field[index].name in dead:
            del field[index]


def _made(model: onnx.ModelProto) -> set[str]:
    """Return the names of all initializers and node outputs of the main graph."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return stored | {name for node in model.graph.node for name in node.output if name}


def _all_reads(nodes: Iterable[onnx.NodeProto]) -> Iterable[str]:
    for node in nodes:
        yield from node.input
        for graph in subgraphs(node):
            yield from _all_reads(graph.node)
            yield from (value.name for value in graph.output)
