"""Reading sample data and turning it into what a model is fed."""

from onnxprune.data.dataset import Batch, Dataset
from onnxprune.data.opening import open_data, refuse_missing
from onnxprune.data.split import fit_and_judge, split, take

__all__ = ["Batch", "Dataset", "fit_and_judge", "open_data", "refuse_missing", "split", "take"]
