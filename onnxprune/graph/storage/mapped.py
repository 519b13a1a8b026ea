"""Models whose weights the runtime maps from files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.staging import explained
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.graph.storage.weights import Weights


@contextmanager
def on_disk(model: onnx.ModelProto, weights: Weights, scratch: Path | None) -> Iterator[StoredModel]:
    """Have a model with all its weights in files: the runtime maps these, whereas values in memory would be copied."""
    if not weights.changed:
        yield StoredModel(model, weights)
        return
    with TemporaryDirectory(dir=scratch, prefix="onnxprune-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "onnxprune-scratch.onnx"
        with explained(path):
            write_model(model, weights, path)
        yield open_model(path)
