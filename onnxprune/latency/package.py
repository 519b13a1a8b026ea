"""The file that times a network on a device which has no onnxprune: `board`, and the models that it times."""

import json
import zipapp
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnxprune.analysis.analysis import Analysis
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.staging import Staging, explained
from onnxprune.latency import board
from onnxprune.latency.block import block_jobs
from onnxprune.latency.jobs import layer_jobs, network_jobs, refuse_untimed
from onnxprune.latency.table import content_of, header_of


def pack(model: Model, analysis: Analysis, path: Path) -> int:
    """Write an archive that times the network wherever Python, numpy and onnxruntime are; return how many jobs it has.

    Raises:
        InputError: it cannot be written, or the network cannot be run on noise.
    """
    with TemporaryDirectory(prefix="onnxprune-") as name, Staging() as staging:
        folder = Path(name)
        content = _contents(model, analysis, folder)
        (folder / "jobs.json").write_text(json.dumps(content), encoding="utf-8")
        (folder / "__main__.py").write_bytes(Path(board.__file__).read_bytes())
        with explained(path):
            target = staging.folder(path) / path.name
            zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)
        staging.commit(last=path)
    return len(content["jobs"])


def _contents(model: Model, analysis: Analysis, folder: Path) -> dict[str, Any]:
    """Write all models to be timed, and return what is timed, with the `jobs` to do."""
    refuse_untimed(analysis)
    whole, networks = network_jobs(model, analysis, folder)
    single, layers = layer_jobs(analysis, folder)
    jobs = [*whole, *block_jobs(folder), *single]
    return {**content_of(header_of(model, analysis), networks, layers), "jobs": jobs}
