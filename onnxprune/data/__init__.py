"""Reading sample data and turning it into what a model is fed."""

from onnxprune.data.dataset import Batch, Dataset
from onnxprune.data.opening import open_data
from onnxprune.data.split import split, take

__all__ = ["Batch", "Dataset", "open_data", "split", "take"]
