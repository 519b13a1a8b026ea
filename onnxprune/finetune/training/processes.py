"""One process of several that train together, as torch's launcher (`torchrun`) starts them; or the only one."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed

from onnxprune.data.dataset import Rows
from onnxprune.errors import InputError
from onnxprune.finetune.training.augment import Share


@dataclass(frozen=True)
class Processes:
    """This process among all: `rank` of `world`, on `device`."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self.rank == 0

    def share(self, rows: Rows) -> tuple[Rows, Share]:
        """Return this process's part of a batch, and which part that is."""
        bounds = np.linspace(0, len(rows), self.world + 1).round().astype(int)
        start, stop = int(bounds[self.rank]), int(bounds[self.rank + 1])
        return rows[start:stop], Share(start, stop, len(rows))

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes."""
        if self.world > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def together(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            distributed.barrier()


def find_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device of a name: `auto` takes a GPU where there is one.

    Raises:
        InputError: there is no such device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device is auto, cpu or cuda, not {name!r}.", "bad-value")
    has_gpu = torch.cuda.is_available()
    if name == "cpu" or (name == "auto" and not has_gpu):
        return torch.device("cpu")
    if not has_gpu:
        raise InputError(
            f"There is no GPU that torch {torch.__version__} can use here; take --device cpu or auto.", "no-device"
        )
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"There are {torch.cuda.device_count()} GPUs and more processes than that on this machine; start fewer.",
            "no-device",
        )
    return torch.device("cuda", local_rank)


def started() -> int:
    """Return how many processes torch's launcher started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Let torch have `count` threads for a while; None: as many as it takes itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torch's launcher started, or be the only one.

    Raises:
        InputError: there is no such device, or the processes cannot find each other.
    """
    world = started()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = find_device(device, local)
    if world == 1:
        yield Processes(0, 1, place)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    try:
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    except (ValueError, RuntimeError) as error:
        raise InputError(f"The {world} processes of torchrun cannot find each other: {error}", "no-device") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of its own plans and speed, once for each process
            yield Processes(distributed.get_rank(), distributed.get_world_size(), place)
        with suppress(RuntimeError):  # another one has failed, and says so itself
            distributed.barrier()  # who leaves while the first one still measures and writes may be aborted on its way
    finally:
        distributed.destroy_process_group()
