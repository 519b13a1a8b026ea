"""The arrays of an .npz file, or the one of an .npy file."""

from pathlib import Path

from onnxprune.data.arrays import load_npz
from onnxprune.data.dataset import Dataset
from onnxprune.data.format import DataRequest, Format, register
from onnxprune.data.stacked import open_stacked


def _takes(path: Path) -> bool:
    return path.suffix.lower() in (".npz", ".npy")


def open_npz(request: DataRequest) -> Dataset:
    """Open the arrays of a file."""
    return open_stacked(request, load_npz(request.path))


register(Format("npz", "an .npz file", "an .npz", _takes, open_npz))
