"""Measuring what a model does: top-1, per class, paired change, drift of outputs, preprocessing presets."""

from onnxprune.evaluation.chance_level import chance_level_message, is_near_chance_level
from onnxprune.evaluation.classes import class_output, could_be_another, declared_classes, gives_probabilities
from onnxprune.evaluation.drift import Drift, drift
from onnxprune.evaluation.presets import auto_preprocess
from onnxprune.evaluation.top1 import PairedChange, Predictions, evaluate, paired, predict
from onnxprune.evaluation.variety import alike

__all__ = [
    "Drift",
    "PairedChange",
    "Predictions",
    "alike",
    "auto_preprocess",
    "chance_level_message",
    "class_output",
    "could_be_another",
    "declared_classes",
    "drift",
    "evaluate",
    "gives_probabilities",
    "is_near_chance_level",
    "paired",
    "predict",
]
