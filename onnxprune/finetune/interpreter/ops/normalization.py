"""Normalisations."""

import torch
from torch import distributed
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional

from onnxprune.finetune.interpreter.ops.site import ByMode, Run, Site, Value, at_axis, operator


@operator("BatchNormalization")
def batch_normalization(site: Site) -> Run:
    """By the running statistics, or by those of the batch, which then move the running ones.

    The file's `momentum` weighs the old value, torch's the new one.
    """
    epsilon, momentum = site.attr("epsilon", 1e-5), 1.0 - site.attr("momentum", 0.9)
    if site.attr("training_mode", 0):
        return _by_own_statistics(momentum, epsilon)
    if len([name for name in site.node.outputs if name]) > 1:
        raise site.refusal("it has several outputs, the training form of old opsets; export the model for inference")
    if site.attr("spatial", 1) == 0:
        raise site.refusal("it normalises every position by itself (spatial = 0), which no export of today does")

    def run(
        of_batch: bool,  # noqa: FBT001 (`ByMode` hands it on before the inputs)
        x: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        var: torch.Tensor,
    ) -> torch.Tensor:
        if of_batch and distributed.is_initialized() and distributed.get_world_size() > 1:
            return _across_processes(x, scale, bias, mean, var, momentum, epsilon)
        return functional.batch_norm(x, mean, var, scale, bias, of_batch, momentum, epsilon)

    return ByMode(run)


def _by_own_statistics(momentum: float, epsilon: float) -> Run:
    """Normalise as a file with `training_mode` does in inference too: weights that are standardised, mostly."""

    def run(
        x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, var: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        axes = [0, *range(2, x.ndim)]
        made = functional.batch_norm(x, None, None, scale, bias, training=True, momentum=momentum, eps=epsilon)
        return made, mean.lerp(x.mean(axes), momentum), var.lerp(x.var(axes, correction=0), momentum)

    return run


def _across_processes(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    running_mean: torch.Tensor,
    running_var: torch.Tensor,
    momentum: float,
    epsilon: float,
) -> torch.Tensor:
    """Normalise by the statistics of the whole batch, of which every process has a part.

    torch's own SyncBatchNorm does that on GPUs only.
    """
    axes = [0, *range(2, x.ndim)]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    values = x.float()
    size = torch.tensor([x.numel() / x.shape[1]], device=x.device)
    summed = _total(torch.cat([values.sum(axes), size]))
    mean, count = summed[:-1] / summed[-1], summed[-1].detach()
    centred = values - mean.reshape(shape)
    var = _total(centred.square().sum(axes)) / count
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)
    made: torch.Tensor = centred * torch.rsqrt(var + epsilon).reshape(shape) * scale.reshape(shape) + bias.reshape(
        shape
    )
    return made.to(x.dtype)


def _total(value: torch.Tensor) -> torch.Tensor:
    """Return the sum over all processes; the gradient flows back to all of them."""
    found: torch.Tensor = all_reduce(value)  # type: ignore[no-untyped-call]
    return found


@operator("InstanceNormalization")
def instance_normalization(site: Site) -> Run:
    """Over the spatial axes of each sample and channel."""
    epsilon = site.attr("epsilon", 1e-5)
    # a group a channel, as torch's own wants more than one position
    return lambda x, scale, bias: torch.group_norm(x, x.shape[1], scale, bias, epsilon)


@operator("LayerNormalization")
def layer_normalization(site: Site) -> Run:
    """Over all axes from `axis` on; the mean and the inverse deviation are given if they are asked for."""
    epsilon, axis = site.attr("epsilon", 1e-5), site.attr("axis", -1)
    asked = len([name for name in site.node.outputs if name]) > 1

    def normalized(x: torch.Tensor, scale: torch.Tensor, bias: Value = None) -> torch.Tensor:
        shape = x.shape[at_axis(axis, x.ndim) :]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            return functional.layer_norm(x, shape, scale, bias, epsilon)
        scaled = functional.layer_norm(x, shape, eps=epsilon) * scale
        return scaled if bias is None else scaled + bias

    def all_three(x: torch.Tensor, scale: torch.Tensor, bias: Value = None) -> tuple[torch.Tensor, ...]:
        axes = list(range(at_axis(axis, x.ndim), x.ndim))
        variance = x.var(axes, correction=0, keepdim=True)
        return normalized(x, scale, bias), x.mean(axes, keepdim=True), torch.rsqrt(variance + epsilon)

    return all_three if asked else normalized


@operator("GroupNormalization")
def group_normalization(site: Site) -> Run:
    """Scale and bias are per group up to opset 20 and per channel from then on."""
    epsilon, groups, per_group = site.attr("epsilon", 1e-5), site.attr("num_groups"), site.version < 21

    def run(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        if per_group:
            scale, bias = (value.repeat_interleave(x.shape[1] // groups) for value in (scale, bias))
        return torch.group_norm(x, groups, scale, bias, epsilon)

    return run


@operator("LRN")
def local_response(site: Site) -> Run:
    """Over neighbouring channels; one more after than before where the size is even."""
    size, alpha = site.attr("size"), site.attr("alpha", 1e-4)
    beta, bias = site.attr("beta", 0.75), site.attr("bias", 1.0)

    def run(x: torch.Tensor) -> torch.Tensor:
        squares = functional.pad(x.square().flatten(2).mT, ((size - 1) // 2, size // 2))
        around = squares.unfold(2, size, 1).sum(dim=-1).mT.reshape(x.shape)
        return torch.div(x, torch.pow(bias + alpha / size * around, beta))

    return run


@operator("LpNormalization")
def lp_normalization(site: Site) -> Run:
    """By the norm along one axis."""
    axis, p = site.attr("axis", -1), site.attr("p", 2)

    def run(x: torch.Tensor) -> torch.Tensor:
        norm = torch.linalg.vector_norm(x, ord=p, dim=axis, keepdim=True)
        return x / torch.where(norm == 0, torch.ones_like(norm), norm)

    return run
