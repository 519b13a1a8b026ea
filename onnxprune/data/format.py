"""What a format of sample data is: which paths are of it, and how they are opened; and the registry of all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxprune.data.dataset import Dataset
from onnxprune.data.image_files import CACHE_BYTES
from onnxprune.registry import Registry, kind_complaint
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import Preprocess

GROUP = "onnxprune.readers"
"""Entry points under which other packages offer formats that they read: the name of each = where its `Format` is."""


@dataclass(frozen=True)
class DataRequest:
    """Data to open, and what for.

    Attributes:
        path: where they lie.
        inputs: the model's inputs.
        preprocess: what is done to pixels.
        names: of the classes, in the order of the model's outputs; None: as the data say.
        classes: number of the model's classes, to check the labels against; None: unknown.
        only: names (or numbers) of the classes to open, see `choose_classes`; nothing: all.
        limit: samples that are needed at most; a format that opens more of them is cut to it. None: all.
        seed: of that choice.
        cache_bytes: decoded images kept in memory.
    """

    path: Path
    inputs: Sequence[TensorSpec]
    preprocess: Preprocess
    names: tuple[str, ...] | None = None
    classes: int | None = None
    only: Sequence[str] = ()
    limit: int | None = None
    seed: int = 0
    cache_bytes: int = CACHE_BYTES


@dataclass(frozen=True)
class Format:
    """A format of sample data.

    Attributes:
        name: of the format.
        kind: what a path of it is: a folder.
        wanted: what people are asked for: a folder of images.
        takes: whether a path that is there is of this format.
        open: opens the data. Raises InputError where they cannot be used with this model.
        general: whether a path that is of another format too is of that one.
    """

    name: str
    kind: str
    wanted: str
    takes: Callable[[Path], bool]
    open: Callable[[DataRequest], Dataset]
    general: bool = False


FORMATS: Registry[Format] = Registry("data format", "onnxprune.data.formats", GROUP, kind_complaint(Format))


def register(known: Format) -> Format:
    """Add a format to the registry."""
    return FORMATS.register(known.name)(known)
