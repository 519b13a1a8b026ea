"""The training loop: epochs of steps, validation after each, the best weights kept, a checkpoint to go on from."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from onnxprune.errors import InputError
from onnxprune.finetune.blocks import Kept
from onnxprune.finetune.interpreter.calls import batched
from onnxprune.finetune.interpreter.module import GraphModule, as_tuple, fitted_tensor
from onnxprune.finetune.training.augment import Augment, check_kinds
from onnxprune.finetune.training.checkpoint import Checkpoint, State, load_checkpoint, save_checkpoint
from onnxprune.finetune.training.feeding import DecodedSamples, in_order, shuffled
from onnxprune.finetune.training.objective import Answers, penalty, sample_losses, square_kernels
from onnxprune.finetune.training.part import chosen
from onnxprune.finetune.training.processes import Processes
from onnxprune.finetune.training.recentre import recentre
from onnxprune.finetune.training.recipe import Recipe, rate_factor
from onnxprune.graph.model import Graph, with_outputs
from onnxprune.values.training import Epoch

RECENTRED = 1024
"""Samples that the statistics of normalisations are taken from before training."""


@dataclass(frozen=True, eq=False)
class Task:
    """What is trained on what.

    Attributes:
        graph: the network.
        training: what it learns from.
        validation: what the best epoch is chosen by.
        answers: which outputs count, and how.
        teacher: the network whose answers are learnt; None: labels alone.
        blocks: the tensors of both networks at which the ends of blocks are compared, and which of the teacher's
            channels the student has there.
    """

    graph: Graph
    training: DecodedSamples
    validation: DecodedSamples
    answers: Answers
    teacher: Graph | None = None
    blocks: Mapping[str, Kept] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained module.

    Attributes:
        module: on the CPU, with the values of the best epoch.
        history: every epoch; the first, number 0, is before training.
        best: the epoch that the values are of.
        ended: why training ended before its last epoch, as a sentence; empty if it did not.
    """

    module: GraphModule
    history: tuple[Epoch, ...]
    best: Epoch
    ended: str = ""


class Watch(Protocol):
    """Who hears of the progress."""

    def step(self, epoch: int, done: int, steps: int, loss: float, rate: float) -> None:
        """A step is done: `done` of the `steps` of an epoch."""
        ...

    def epoch(self, epoch: Epoch, *, best: bool) -> None:
        """An epoch is done; `best` if it is the best so far."""
        ...

    def done(self) -> None:
        """Training is over."""
        ...


class Nobody:
    """A `Watch` that hears of nothing."""

    def step(self, epoch: int, done: int, steps: int, loss: float, rate: float) -> None:
        """Do nothing."""

    def epoch(self, epoch: Epoch, *, best: bool) -> None:
        """Do nothing."""

    def done(self) -> None:
        """Do nothing."""


def train(
    task: Task,
    recipe: Recipe,
    processes: Processes,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    run: State | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train a network.

    Args:
        task: what on what.
        recipe: how.
        processes: this process and the others; all have the same task.
        checkpoint: where the first process writes the state after every epoch.
        resume: go on from there; on a CPU the result has the same bits as that of an uninterrupted run.
        run: what tells this run from others, beside the recipe: digests of the model and the data.
        watch: hears of the progress.

    Raises:
        InputError: a network that cannot be trained, a part that it does not have, too few samples, a checkpoint of
            another run.
    """
    return _Training(task, recipe, processes, checkpoint, {**(run or {}), "recipe": recipe.to_json()}, watch).work(
        resume=resume
    )


class _Training:
    """The moving parts of a run."""

    def __init__(
        self,
        task: Task,
        recipe: Recipe,
        processes: Processes,
        checkpoint: Path | None,
        run: State,
        watch: Watch | None,
    ) -> None:
        check_kinds(recipe.augment)
        if recipe.augment and task.training.scaling is None:
            raise InputError(
                "--augment changes images, and these samples are arrays; leave it out.", "conflicting-options"
            )
        self.task, self.recipe, self.processes, self.run = task, recipe, processes, run
        self.checkpoint = checkpoint
        self.watch: Watch = watch if watch is not None and processes.first else Nobody()
        self.steps = math.ceil(len(task.training) / recipe.batch)
        if len(task.training) // self.steps < processes.world:
            raise InputError(
                f"{len(task.training)} samples in batches of {recipe.batch} are too few for {processes.world} "
                "processes; start fewer, or give more.",
                "too-few-samples",
            )
        whole = with_outputs(task.graph, tuple(task.blocks))
        self.module = GraphModule(whole, statistics=recipe.statistics).to(processes.device)
        self.names = self.module.input_names
        parts = chosen(task.graph, self.module.trained(), recipe.part)
        for name, value in self.module.trained().items():
            value.requires_grad_(name in parts)
        self.kernels = square_kernels(task.graph, self.module.trained())
        self.teacher = (
            None
            if task.teacher is None
            else GraphModule(with_outputs(task.teacher, tuple(task.blocks))).to(processes.device).eval()
        )
        arrays, _ = task.validation.batch(in_order(2, 2)[0] % len(task.validation), self.device)
        some = task.validation.feeds(arrays, self.names)
        self.student: nn.Module = batched(self.module, some)
        self.taught = None if self.teacher is None else batched(self.teacher, some)
        self.learnt = self._reached(some)
        self.parallel = self.student
        if processes.world > 1 and self.learnt:
            self.parallel = nn.parallel.DistributedDataParallel(self.student, broadcast_buffers=False)
        self.optimizer = _optimizer(recipe, self.learnt) if self.learnt else None

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return self.processes.device

    def _reached(self, some: Sequence[torch.Tensor]) -> list[nn.Parameter]:
        """Return what is trained; what the loss does not depend on, such as another output's weights, is left alone.

        Several processes would wait for its gradient.
        """
        chosen = [value for value in self.module.trained().values() if value.requires_grad]
        if not chosen:
            return []
        self.module.eval()
        outputs, answers = as_tuple(self.student(*some)), self.task.answers
        counted = [value for value in outputs if value.is_floating_point()]
        total = torch.stack([value.sum() for value in counted]).sum()
        if answers.place is not None and not self.task.blocks:
            total = answers.scores(outputs).sum()
        extra = penalty(self.recipe, self.module.trained(), self.kernels)
        total = total if extra is None else total + extra
        gradients = torch.autograd.grad(total, chosen, allow_unused=True) if total.requires_grad else [None]
        for value, gradient in zip(chosen, gradients, strict=False):
            value.requires_grad_(gradient is not None)
        if all(gradient is None for gradient in gradients):
            raise InputError(
                f"What --train {self.recipe.part} stands for has no say in the answers; train another part.",
                "unsupported-model",
            )
        return [value for value in chosen if value.requires_grad]

    def work(self, *, resume: bool) -> Trained:
        history, best = self._begin(resume=resume)
        ended = ""
        top = max(history, key=lambda epoch: epoch.score)
        for number in range(len(history), self.recipe.epochs + 1):
            if self.recipe.patience and number - 1 - top.number >= self.recipe.patience:
                ended = f"No better validation score in {self.recipe.patience} epochs."
                break
            epoch = self._epoch(number)
            if epoch is None:
                ended = (
                    f"The loss was no finite number any more in epoch {number}, so the weights are those of epoch "
                    f"{top.number}; try a lower --lr."
                )
                break
            history = (*history, epoch)
            if epoch.score > top.score:
                top, best = epoch, self._values()
            self.watch.epoch(epoch, best=epoch is top)
            self._save(history, best)
        self.watch.done()
        self.module.load_state_dict(best, strict=False)
        return Trained(self.module.cpu().eval(), history, top, ended)

    def _begin(self, *, resume: bool) -> tuple[tuple[Epoch, ...], State]:
        """Return the epochs so far and the values of the best one."""
        if resume and self.checkpoint is not None:
            found = load_checkpoint(self.checkpoint, self.run)
            self.module.load_state_dict(found.module, strict=False)
            if self.optimizer is not None:
                self.optimizer.load_state_dict(found.optimizer)
            top = max(found.history, key=lambda epoch: epoch.score)
            for epoch in found.history:
                self.watch.epoch(epoch, best=epoch is top)
            return found.history, found.best
        self._recentre()
        loss, top1 = self._validate()
        first = Epoch(0, None, loss, top1)
        self.watch.epoch(first, best=True)
        return (first,), self._values()

    def _recentre(self) -> None:
        """Begin training with the function that there is, though normalisations go by the batch in it."""
        if self.recipe.statistics != "train" or self.student is not self.module:
            return
        data = self.task.training
        rows = shuffled(len(data), self.recipe.batch, self.recipe.seed, 0)[: -(-RECENTRED // self.recipe.batch)]
        some = (data.feeds(data.batch(found, self.device)[0], self.names) for found in rows)
        recentre(self.task.graph, self.module, some)  # the same in every process

    def _values(self) -> State:
        """Return copies of what training changes."""
        names = (*self.module.trained(), *self.module.running)
        state = self.module.state_dict()
        return {name: state[name].detach().cpu().clone() for name in names}

    def _save(self, history: tuple[Epoch, ...], best: State) -> None:
        if self.checkpoint is not None and self.processes.first:
            state = {} if self.optimizer is None else self.optimizer.state_dict()
            save_checkpoint(self.checkpoint, Checkpoint(self.run, self._values(), best, state, history))
        self.processes.together()

    def _epoch(self, number: int) -> Epoch | None:
        """Train over all samples once; None where the gradient or a loss is no finite number any more."""
        recipe, start = self.recipe, time.perf_counter()
        torch.manual_seed(_seed(recipe.seed, number, self.processes.rank))  # of dropout
        total = torch.zeros((), device=self.device)
        rate = 0.0
        self.module.train()
        for step, rows in enumerate(shuffled(len(self.task.training), recipe.batch, recipe.seed, number)):
            rate = recipe.highest_rate * rate_factor(recipe, self.steps, (number - 1) * self.steps + step)
            found = self._step(rows, rate, _seed(recipe.seed, number, step, 1))
            if found is None:
                return None
            total += found.sum()
            losses = found.mean()
            self.watch.step(number, step + 1, self.steps, float(losses), rate)
        loss, top1 = self._validate()
        mean = float(self.processes.total(total)) / len(self.task.training)
        if not (math.isfinite(loss) and math.isfinite(mean)):
            return None
        return Epoch(number, mean, loss, top1, rate, time.perf_counter() - start)

    def _step(self, rows: Any, rate: float, seed: int) -> torch.Tensor | None:
        """Learn from a batch; return the losses of this process's samples, or None where a gradient is not finite."""
        recipe, data = self.recipe, self.task.training
        mine, share = self.processes.share(rows)
        arrays, labels = data.batch(mine, self.device)
        feeds = data.feeds(arrays, self.names, Augment(recipe.augment, seed, share))
        with torch.set_grad_enabled(self.optimizer is not None):
            losses = self._losses(*self._answers(self.parallel, feeds), labels)
        if self.optimizer is None:
            return losses.detach()
        # Gradients of the processes are averaged, so that a sample counts the same in whichever share it is.
        loss = losses.sum() * (self.processes.world / len(rows))
        extra = penalty(recipe, self.module.trained(), self.kernels)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss if extra is None else loss + extra)
        norm = nn.utils.clip_grad_norm_(self.learnt, recipe.clip or math.inf)
        if not bool(torch.isfinite(norm)):
            return None  # the same in every process
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return losses.detach()

    def _losses(
        self, outputs: Sequence[torch.Tensor], taught: Sequence[torch.Tensor] | None, labels: torch.Tensor | None
    ) -> torch.Tensor:
        return sample_losses(self.recipe, self.task.answers, outputs, taught, labels, len(self.task.blocks))

    def _answers(
        self, model: nn.Module, feeds: Sequence[torch.Tensor]
    ) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor] | None]:
        """Return the float outputs of the student and of the teacher."""
        low = self.recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            outputs = as_tuple(model(*feeds))
            if self.taught is None:
                return outputs, None
            with torch.no_grad():
                return outputs, self._in_common(as_tuple(self.taught(*feeds)))

    def _in_common(self, taught: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Return the teacher's outputs with the channels, of these and at the ends of blocks, that the student has."""
        first = len(taught) - len(self.task.blocks)
        outputs = zip(self.module.output_names, taught[:first], strict=False)
        ends = zip(taught[first:], self.task.blocks.values(), strict=True)
        return (
            *(fitted_tensor(value, self.module.interface.get(name, ())) for name, value in outputs),
            *(value.index_select(axis, torch.from_numpy(kept).to(value.device)) for value, (axis, kept) in ends),
        )

    def _validate(self) -> tuple[float, float | None]:
        """Return the mean loss and the accuracy over all validation samples."""
        data, answers = self.task.validation, self.task.answers
        self.module.eval()
        sums = torch.zeros(2, device=self.device, dtype=torch.float64)
        with torch.no_grad():
            for rows in in_order(len(data), self.recipe.batch):
                mine, _ = self.processes.share(rows)
                if not len(mine):
                    continue
                arrays, labels = data.batch(mine, self.device)
                outputs, taught = self._answers(self.student, data.feeds(arrays, self.names))
                sums[0] += self._losses(outputs, taught, labels).sum()
                if labels is not None and answers.place is not None:
                    sums[1] += (answers.scores(outputs).argmax(dim=1) == labels).sum()
        loss, hits = (self.processes.total(sums) / len(data)).tolist()
        return loss, None if data.labels is None or answers.place is None else hits


def _seed(*numbers: int) -> int:
    """Return a number that no other numbers give, as good as by chance."""
    found = 0
    for number in numbers:
        found = (found * 1_000_003 + number + 1) % (2**63 - 1)
    return found


def _optimizer(recipe: Recipe, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer; weights decay, and biases and scales do not."""
    groups = [
        {"params": [value for value in parameters if value.ndim > 1], "weight_decay": recipe.decay},
        {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.highest_rate)
    return torch.optim.SGD(groups, lr=recipe.highest_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
