"""What a user should know of how scores came about."""

from collections.abc import Sequence

import numpy as np

from onnxprune.values.statistics import Statistics


def class_notes(statistics: Statistics) -> tuple[str, ...]:
    """Say that there are no labels, or which classes have no images."""
    notes = []
    if not statistics.labelled:
        notes.append("The data has no labels: all images count as one class.")
    missing = [int(c) for c in np.flatnonzero(statistics.samples == 0)]
    if missing:
        names = ", ".join(statistics.class_names[c] if statistics.class_names else str(c) for c in missing)
        notes.append(f"No calibration image of: {names}; these classes have no say.")
    return tuple(notes)


def unmeasured_note(groups: Sequence[str]) -> tuple[str, ...]:
    """Name the groups that a method could not measure, if there are any."""
    return (f"Not measured, so neither favoured nor blamed: {', '.join(groups)}.",) if groups else ()
