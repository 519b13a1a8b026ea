"""What a run tells while it goes on, and who listens."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from onnxprune.values.progress import Item
from onnxprune.values.training import Epoch

if TYPE_CHECKING:
    from onnxprune.analysis.analysis import Analysis
    from onnxprune.pipeline.samples import Samples


@dataclass(frozen=True)
class Working:
    """Work is begun whose steps cannot be counted; `what` names it."""

    what: str


Part = Literal["planning", "checking", "recovery", "training", "measuring"]
"""What a run that prunes does one after the other, once the model and the data are open."""


@dataclass(frozen=True)
class Outlined:
    """A run begins with these parts, which are expected to take so many seconds each."""

    seconds: Mapping[Part, float]


@dataclass(frozen=True)
class PartBegun:
    """A part of a run begins."""

    part: Part


@dataclass(frozen=True, eq=False)
class Analysed:
    """The model was read and analysed."""

    analysis: "Analysis"


@dataclass(frozen=True)
class LeastLeft:
    """What no budget can get below: by kind of cost, a share of the original's."""

    shares: Any


@dataclass(frozen=True, eq=False)
class DataOpened:
    """The data are open; `training` says that a model is trained on them, and not scored."""

    samples: "Samples"
    training: bool = False


@dataclass(frozen=True)
class Resumed:
    """A run goes on from a state that was kept."""

    message: str


@dataclass(frozen=True)
class IterationBegun:
    """An iteration of pruning and training begins; the first is 1."""

    number: int


@dataclass(frozen=True)
class TrainingBegun:
    """A training begins."""

    epochs: int


@dataclass(frozen=True)
class BatchTrained:
    """A step of an epoch is done, `done` of `steps`."""

    epoch: int
    done: int
    steps: int
    loss: float
    rate: float


@dataclass(frozen=True)
class EpochTrained:
    """An epoch is done; `best` says that it is the best so far."""

    epoch: Epoch
    best: bool


@dataclass(frozen=True)
class TrainingEnded:
    """A training is over."""


Event = (
    Working
    | Outlined
    | PartBegun
    | Analysed
    | LeastLeft
    | DataOpened
    | Resumed
    | IterationBegun
    | TrainingBegun
    | BatchTrained
    | EpochTrained
    | TrainingEnded
)


class Listener(Protocol):
    """Hears what a run does."""

    def hear(self, event: Event) -> None:
        """Take note of an event."""
        ...

    def track(self, items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        """Yield every item unchanged, in order, and take note of `len(item)` of `total` steps after each."""
        ...


class NullListener:
    """Hears nothing: the listener of libraries and tests."""

    def hear(self, event: Event) -> None:
        """Ignore it."""

    def track(self, items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
        """Yield the items."""
        del total, what
        yield from items


NULL_LISTENER = NullListener()
