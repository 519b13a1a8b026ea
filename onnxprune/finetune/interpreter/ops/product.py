"""Matrix products."""

import torch
from torch.nn import functional

from onnxprune.finetune.interpreter.ops.site import Run, Site, Value, operator


@operator("Gemm")
def gemm(site: Site) -> Run:
    """Alpha A' B' + beta C."""
    alpha, beta = site.attr("alpha", 1.0), site.attr("beta", 1.0)
    turn_a, turn_b = site.attr("transA", 0), site.attr("transB", 0)

    def run(a: torch.Tensor, b: torch.Tensor, c: Value = None) -> torch.Tensor:
        a = a.mT if turn_a else a
        if alpha == 1.0 and (c is None or (beta == 1.0 and c.ndim == 1)):
            return functional.linear(a, b if turn_b else b.mT, c)
        product: torch.Tensor = alpha * functional.linear(a, b if turn_b else b.mT)
        return product if c is None else product + beta * c

    return run


@operator("MatMul")
def matmul(site: Site) -> Run:
    """With numpy's broadcasting."""
    return torch.matmul


@operator("Einsum")
def einsum(site: Site) -> Run:
    """Any equation."""
    equation = site.attr("equation")
    return lambda *operands: torch.einsum(equation, *operands)
