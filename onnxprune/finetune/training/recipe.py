"""Everything that decides how a model is trained, in one value."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from onnxprune.errors import InputError

Part = Literal["full", "tail", "fc", "norm", "none"]
Optimizer = Literal["sgd", "adamw"]
Match = Literal["blocks", "answers"]

Schedule = Literal["cosine", "step", "constant"]

RATES: dict[str, float] = {"sgd": 0.02, "adamw": 1e-3}
"""Learning rate by optimizer where none is given."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        epochs: passes over the training samples.
        batch: samples per step, over all processes together.
        optimizer: SGD with Nesterov's momentum, or AdamW.
        rate: highest learning rate; None: that of `RATES`.
        momentum: of SGD.
        decay: weight decay.
        schedule: how the rate falls after the warm-up: along a cosine to 0, by `drop` every `every` epochs, or never.
        warmup: epochs in which the rate grows from 0.
        teach: weight of the distillation loss, 0 to 1; the labels have the rest. Without labels it counts as 1.
        temperature: of the distillation (Hinton et al. 2015, arXiv 1503.02531).
        smoothing: of the labels.
        augment: `crop` (padded by an eighth of the side), `flip` (left to right).
        match: whether what is learnt of a teacher is what its blocks make (`blocks`), or its answers (`answers`); None:
            blocks without labels, answers with them.
        part: which parameters are trained, see `part`.
        statistics: what BatchNormalization goes by in training, see `GraphModule`.
        precision: of the activations.
        clip: largest norm of the gradient, all parameters together; 0: any.
        l1: weight of the sum of the magnitudes of all parameters.
        orthogonal: weight of the distance of 3x3 convolutions from orthogonal ones, see `losses`.
        patience: epochs without a better validation score after which training ends; 0: never.
        seed: of order, augmentation and dropout.
    """

    epochs: int = 10
    batch: int = 128
    optimizer: Optimizer = "sgd"
    rate: float | None = None
    momentum: float = 0.9
    decay: float = 5e-4
    schedule: Schedule = "cosine"
    every: int = 30
    drop: float = 0.1
    warmup: float = 0.25
    teach: float = 0.5
    temperature: float = 4.0
    smoothing: float = 0.0
    augment: tuple[str, ...] = ()
    match: Match | None = None
    part: Part = "full"
    statistics: Literal["train", "eval"] = "train"
    precision: Literal["float32", "bf16"] = "float32"
    clip: float = 5.0
    l1: float = 0.0
    orthogonal: float = 0.0
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that make no sense.

        Raises:
            InputError: one of them.
        """
        positive = {"epochs": self.epochs, "batch": self.batch, "temperature": self.temperature, "every": self.every}
        for name, value in positive.items():
            if not 0 < value < math.inf:
                raise InputError(f"--{name} has to be above 0, not {value:g}.", "bad-value")
        if not 0 < self.highest_rate < math.inf:
            raise InputError(f"--lr has to be above 0, not {self.highest_rate:g}.", "bad-value")
        shares = {"teach": self.teach, "smoothing": self.smoothing, "drop": self.drop, "momentum": self.momentum}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise InputError(f"--{name} is a share from 0 to 1, not {value:g}.", "bad-value")
        rest = ("decay", "warmup", "clip", "l1", "orthogonal", "patience")
        for name in rest:
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"--{name} cannot be negative, which {getattr(self, name):g} is.", "bad-value")

    @property
    def highest_rate(self) -> float:
        """The learning rate after the warm-up."""
        return RATES[self.optimizer] if self.rate is None else self.rate

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {**asdict(self), "rate": self.highest_rate, "augment": list(self.augment)}


def rate_factor(recipe: Recipe, steps_per_epoch: int, step: int) -> float:
    """Return the share of the highest learning rate that a step takes; steps count from 0.

    The rate grows along a line over the warm-up and then falls as the schedule says; it is above 0 in every step.
    """
    warm = min(round(recipe.warmup * steps_per_epoch), recipe.epochs * steps_per_epoch - 1)
    if step < warm:
        return (step + 1) / (warm + 1)
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "step":
        return float(recipe.drop ** (step // steps_per_epoch // recipe.every))
    progress = (step - warm) / max(1, recipe.epochs * steps_per_epoch - warm)
    return 0.5 * (1 + math.cos(math.pi * progress))
