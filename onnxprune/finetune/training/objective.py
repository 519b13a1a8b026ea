"""What training minimises: cross-entropy with labels, distillation from a teacher, and penalties on the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from onnxprune.finetune.training.recipe import Recipe
from onnxprune.graph.model import Graph

TINY = 1e-12


@dataclass(frozen=True)
class Answers:
    """Where the answers that are trained lie.

    Attributes:
        place: which output holds class scores; None where the model is no classifier: all its float outputs count.
        probabilities: whether these are probabilities, so that scores are their logarithms.
        columns: which outputs the classes of the data are; None: all, in order.
        taught_probabilities: whether the teacher's are probabilities; None: as the model's.
    """

    place: int | None
    probabilities: bool = False
    columns: tuple[int, ...] | None = None
    taught_probabilities: bool | None = None

    def scores(self, outputs: Sequence[torch.Tensor], *, taught: bool = False) -> torch.Tensor:
        """Return the class scores in front of a softmax, float32 [samples, classes], of the model or the teacher."""
        assert self.place is not None
        found = outputs[self.place].flatten(1).float()
        own = not taught or self.taught_probabilities is None
        found = found.clamp_min(TINY).log() if (self.probabilities if own else self.taught_probabilities) else found
        return found if self.columns is None or len(self.columns) == found.shape[1] else found[:, list(self.columns)]


def sample_losses(
    recipe: Recipe,
    answers: Answers,
    outputs: Sequence[torch.Tensor],
    taught: Sequence[torch.Tensor] | None,
    labels: torch.Tensor | None,
    blocks: int = 0,
) -> torch.Tensor:
    """Return the loss of each sample, float32 [samples].

    The last `blocks` of the outputs are the ends of blocks. Where there are such, what is learnt of the teacher is what
    these and all other outputs say, see `block_losses`.

    (1 - teach) CE(s, y) + teach T^2 KL(softmax(t / T) || softmax(s / T)) for student scores s and teacher scores t
    (Hinton et al. 2015); where there are no labels the second term alone, where there is no teacher the first. Without
    class scores it is the squared distance of the outputs from the teacher's, relative to these, their mean over the
    outputs.
    """
    if blocks and taught is not None and labels is None:
        return block_losses(outputs, taught)
    if answers.place is None:
        assert taught is not None
        return _distance(outputs, taught)
    scores = answers.scores(outputs)
    parts = []
    teach = 0.0 if taught is None else 1.0 if labels is None else recipe.teach
    if labels is not None and teach < 1:
        entropy = functional.cross_entropy(scores, labels, reduction="none", label_smoothing=recipe.smoothing)
        parts.append((1 - teach) * entropy)
    if taught is not None and teach > 0 and blocks:
        parts.append(teach * block_losses(outputs, taught))
    elif taught is not None and teach > 0:
        heat = recipe.temperature
        wanted = torch.log_softmax(answers.scores(taught, taught=True) / heat, dim=1)
        found = torch.log_softmax(scores / heat, dim=1)
        parts.append(teach * heat**2 * functional.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=1))
    return torch.stack(parts).sum(dim=0)


def block_losses(outputs: Sequence[torch.Tensor], taught: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the squared error of every sample over the variance of the teacher's, summed over the tensors."""
    terms = []
    for found, wanted in zip(outputs, taught, strict=True):
        if found.is_floating_point():
            wrong = (found.flatten(1).float() - wanted.flatten(1).float()).square().mean(dim=1)
            terms.append(wrong / wanted.float().var(correction=0).clamp_min(TINY))
    return torch.stack(terms).sum(dim=0)


def _distance(outputs: Sequence[torch.Tensor], taught: Sequence[torch.Tensor]) -> torch.Tensor:
    pairs = [
        (a.flatten(1).float(), b.flatten(1).float())
        for a, b in zip(outputs, taught, strict=True)
        if a.is_floating_point()
    ]
    terms = [(a - b).square().sum(dim=1) / b.square().sum(dim=1).clamp_min(TINY) for a, b in pairs]
    return torch.stack(terms).mean(dim=0)


def penalty(recipe: Recipe, parameters: Mapping[str, torch.Tensor], squares: Sequence[str]) -> torch.Tensor | None:
    """Return what the weights themselves cost; None where no weight is given to it.

    orthogonal * sum over 3x3 convolutions of D(K) + l1 * sum over all parameters of |p| (Jiang et al. 2024, stated).
    """
    terms = []
    if recipe.l1:
        terms.append(recipe.l1 * torch.stack([value.abs().sum() for value in parameters.values()]).sum())
    if recipe.orthogonal and squares:
        terms.append(recipe.orthogonal * torch.stack([orthogonality(parameters[name]) for name in squares]).sum())
    return torch.stack(terms).sum() if terms else None


def square_kernels(graph: Graph, parameters: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Return the parameters that are kernels of ungrouped 3x3 convolutions."""
    found = [
        node.inputs[1]
        for node in graph.nodes
        if node.op == "Conv" and node.attrs.get("group", 1) == 1 and node.inputs[1] in parameters
    ]
    return tuple(dict.fromkeys(name for name in found if parameters[name].shape[2:] == (3, 3)))


def orthogonality(kernel: torch.Tensor) -> torch.Tensor:
    """Return D(K) = || conv2d(K, K, padding 1) - T ||_F for K of [filters, channels, 3, 3].

    T is 0 but the identity at the centre (convolutional orthogonality, Wang et al., CVPR 2020; the norm is not squared,
    as in the authors' code of Jiang et al. 2024).
    """
    products = functional.conv2d(kernel, kernel, padding=1)
    target = torch.zeros_like(products)
    target[:, :, 1, 1] = torch.eye(len(kernel), device=kernel.device, dtype=kernel.dtype)
    distance: torch.Tensor = torch.linalg.vector_norm(products - target)
    return distance
