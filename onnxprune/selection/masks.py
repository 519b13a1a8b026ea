"""Which channels stay, once it is known how many."""

from collections.abc import Mapping

import numpy as np

from onnxprune.values.axes import BoolArray, IntArray, frozen_array
from onnxprune.values.statistics import Scores


def ranking(scores: Scores, name: str) -> IntArray:
    """Return the channels of a group from best to worst: by score, then by tie-break, then the lower index first."""
    values = scores.values[name]
    ties = scores.ties.get(name, np.zeros_like(values))
    return np.lexsort((np.arange(len(values)), -ties, -values)).astype(np.int64)


def keep_best(scores: Scores, counts: Mapping[str, int]) -> dict[str, BoolArray]:
    """Return the keep masks (True = kept) of the groups in `counts`, the best channels staying.

    Which those are is up to the method where it chooses by width.
    """
    masks = {}
    for name, count in counts.items():
        if scores.choose is not None:
            masks[name] = scores.choose(name, count)
            continue
        mask = np.zeros(len(scores.values[name]), dtype=bool)
        mask[ranking(scores, name)[:count]] = True
        masks[name] = frozen_array(mask)
    return masks
