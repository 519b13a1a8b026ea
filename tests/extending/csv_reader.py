"""A format of another package: a .csv of one image a line, its class and then its pixels row by row, without a head."""

from pathlib import Path

import numpy as np

from onnxprune.data.dataset import Dataset
from onnxprune.data.format import DataRequest, Format
from onnxprune.data.stacked import open_stacked
from onnxprune.errors import InputError


def takes(path: Path) -> bool:
    """Whether a path is of this format."""
    return path.suffix.lower() == ".csv"


def open_csv(request: DataRequest) -> Dataset:
    """Open the images of a file in the shape that the model takes."""
    _, *shape = request.inputs[0].shape
    try:
        table = np.loadtxt(request.path, np.uint8, delimiter=",", ndmin=2)
        images = table[:, 1:].reshape(-1, *(size or 1 for size in shape))
    except ValueError as error:
        raise InputError(
            f"'{request.path}' does not hold a class and {shape} pixels a line ({error})", "bad-data"
        ) from error
    return open_stacked(request, {"x": images, "y": table[:, 0]})


CSV = Format("csv", "a .csv file", "a .csv", takes, open_csv)
