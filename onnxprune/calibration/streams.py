"""What lies in residual streams: covariances behind their normalisations, before these scale it."""

import zlib
from collections.abc import Sequence

import numpy as np

from onnxprune.analysis.analysis import Analysis
from onnxprune.analysis.streams import Stream
from onnxprune.calibration.inner import SAMPLES_PER_CALL, inner_session
from onnxprune.calibration.probes import POSITIONS
from onnxprune.data.dataset import Dataset
from onnxprune.values.axes import FloatArray
from onnxprune.values.progress import Track, silent

_SMALL = 1e-12


def stream_covariances(
    analysis: Analysis, streams: Sequence[Stream], dataset: Dataset, *, seed: int = 0, track: Track = silent
) -> tuple[FloatArray, ...]:
    """Return the covariance of every stream, [channels, channels], the mean over its normalisations.

    Looked at are some positions of every sample, the same ones whatever other streams there are. It is not finite where
    the stream is not.
    """
    names = {norm.source for stream in streams for norm in stream.norms.values()}
    session = inner_session(analysis.graph, sorted(names))
    drawn = [np.random.default_rng([seed, zlib.crc32(stream.group.encode())]) for stream in streams]
    moments = [np.zeros((stream.size, stream.size)) for stream in streams]
    sums = [np.zeros(stream.size) for stream in streams]
    seen = [0] * len(streams)
    for batch in track(dataset.batches(SAMPLES_PER_CALL), total=len(dataset), what="Looking at streams"):
        for chunk in session.chunks(batch.feeds):
            found = {**chunk.feeds, **session.run(chunk.feeds)}
            for place, stream in enumerate(streams):
                for norm in stream.norms.values():
                    rows = chunk.real(found[norm.source])
                    most = POSITIONS * len(rows)
                    rows = rows.reshape(-1, stream.size).astype(np.float64)
                    if len(rows) > most:
                        rows = rows[drawn[place].choice(len(rows), most, replace=False)]
                    rows = _normalised(rows, centred=stream.centred)
                    moments[place] += rows.T @ rows
                    sums[place] += rows.sum(axis=0)
                    seen[place] += len(rows)
    return tuple(
        moment / count - np.outer(total / count, total / count)
        for moment, total, count in zip(moments, sums, seen, strict=True)
    )


def _normalised(rows: FloatArray, *, centred: bool) -> FloatArray:
    with np.errstate(invalid="ignore", over="ignore"):
        if centred:
            rows = rows - rows.mean(axis=1, keepdims=True)
        return np.asarray(rows / np.sqrt(np.square(rows).mean(axis=1, keepdims=True) + _SMALL))
