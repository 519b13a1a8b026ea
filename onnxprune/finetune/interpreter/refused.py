"""Ops that are not trained through, and why."""

from collections.abc import Mapping

REFUSED: Mapping[str, str] = {
    "If": "control flow is not trained through; the pruner leaves the layers inside of it alone as well",
    "Loop": "control flow is not trained through; the pruner leaves the layers inside of it alone as well",
    "Scan": "control flow is not trained through; the pruner leaves the layers inside of it alone as well",
    "NonMaxSuppression": "choosing boxes has no gradient; train a detector with its own loss, ahead of this node",
    "RoiAlign": "only detectors have it, whose losses need boxes; train them with the code that they come from",
    "Affine": "an op of early experiments that was withdrawn before opset 7",
    "Crop": "an op of early experiments that was withdrawn before opset 7",
    "ImageScaler": "an op of early experiments that was withdrawn before opset 7",
}
"""Reasons by op type; any other op without a builder is said to be unknown."""
