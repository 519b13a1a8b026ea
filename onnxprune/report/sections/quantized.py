"""The quantized model beside the other two."""

from collections.abc import Iterable

from onnxprune.report.blocks import Block
from onnxprune.report.quantized import quantized_blocks
from onnxprune.report.section import Detail, Section, register
from onnxprune.values.results import Result


def blocks(result: Result, detail: Detail) -> Iterable[Block]:
    """Return the three models, and what pruning and quantization changed."""
    return quantized_blocks(result.before, result.after, result.quality, result.quantized)


register(Section("quantized", 60, blocks))
