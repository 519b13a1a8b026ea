"""Telling a working classifier from one that is fed wrongly: accuracy no better than guessing."""

from onnxprune.values.accuracy import Accuracy, wilson
from onnxprune.values.amount import percent

_Z_ONE_SIDED = 1.6448536269514722  # normal quantile of 95 %


def is_near_chance_level(accuracy: Accuracy) -> bool:
    """Whether the model does not show to be better than guessing.

    With C classes, guessing is right in 1/C. The verdict is "near chance" if both hold:

    * the lower end of the one-sided 95 % Wilson interval is at most 1/C + min(0.5/C, 0.05): for 10 classes
      15 %, for 2 classes 55 %;
    * top-1 is below the middle between 1/C and 1, so that a handful of samples, nearly all right, whose
      interval is wide, does not count as chance.

    A model that always answers the commonest class of unbalanced data is not found this way.
    """
    chance = 1 / accuracy.classes
    low, _ = wilson(accuracy.correct, accuracy.total, _Z_ONE_SIDED)
    return low <= chance + min(chance / 2, 0.05) and accuracy.top1 < (1 + chance) / 2


def chance_level_message(accuracy: Accuracy, output: str = "") -> str:
    """What to tell the user when `is_near_chance_level`: the numbers, the likely causes, what to set for each."""
    read = f" by its output {output!r}" if output else ""
    return (
        f"the original model has {accuracy.correct} of {accuracy.total} samples right{read} "
        f"({percent(accuracy.top1)}), about what guessing among {accuracy.classes} classes gives "
        f"({100 / accuracy.classes:.1f} %), so it is "
        "probably fed wrongly: check the order of the classes (--labels FILE, one name per line in the order "
        "of the model's outputs), the scaling of pixels (--preprocess auto tries the presets; or --mean, --std "
        "and --scale) and the order of channels (--channel-order bgr), or pass --no-accuracy-check to go on"
    )
