"""What a run tells while it goes on, and who listens."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from onnxprune.values.progress import Item
from onnxprune.values.training import Epoch

if TYPE_CHECKING:
    from onnxprune.analysis.analyse import Analysis
    from onnxprune.pipeline.samples import Samples


@dataclass(frozen=True)
class Working:
    """Work is begun whose steps cannot be counted; `what` names it."""

    what: str


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


class as_tell:  # noqa: N801 - temporary: goes when the pipeline sends events itself
    """Turn the stages that the pipeline names today into events for `listener`."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __call__(self, stage: str, value: Any) -> None:
        """Send the event of a stage; unknown stages are ignored."""
        makers: dict[str, Callable[[Any], Event]] = {
            "working": Working,
            "analysis": Analysed,
            "least": LeastLeft,
            "samples": DataOpened,
            "training samples": lambda samples: DataOpened(samples, training=True),
            "resumed": Resumed,
            "iteration": lambda title: IterationBegun(int(title.split()[-1])),
        }
        if stage in makers:
            self._listener.hear(makers[stage](value))


class as_watch:  # noqa: N801 - temporary: goes when the training sends events itself
    """Turn the calls that the training makes today into events for `listener`."""

    def __init__(self, listener: Listener, epochs: int) -> None:
        self._listener, self._epochs, self._begun = listener, epochs, False

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._listener.hear(TrainingBegun(self._epochs))

    def step(self, epoch: int, done: int, steps: int, loss: float, rate: float) -> None:
        """Send what a step came to."""
        self._begin()
        self._listener.hear(BatchTrained(epoch, done, steps, loss, rate))

    def epoch(self, epoch: Epoch, best: bool) -> None:
        """Send what an epoch came to."""
        self._begin()
        self._listener.hear(EpochTrained(epoch, best))

    def done(self) -> None:
        """Send that the training is over."""
        self._begun = False
        self._listener.hear(TrainingEnded())
