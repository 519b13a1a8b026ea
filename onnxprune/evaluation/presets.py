"""Finding the preprocessing preset a model was trained with: the one it scores best with."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from onnxprune.data import Dataset, take
from onnxprune.errors import InputError
from onnxprune.evaluation.top1 import predict
from onnxprune.runtime import Session
from onnxprune.values.data import PresetScore
from onnxprune.values.preprocess import PRESETS, Preprocess
from onnxprune.values.progress import Track, silent


def auto_preprocess(  # noqa: PLR0913 (every setting has its default)
    session: Session,
    dataset: Dataset,
    base: Preprocess,
    presets: Mapping[str, Preprocess] = PRESETS,
    *,
    output: str | None = None,
    limit: int = 200,
    seed: int = 0,
    batch_size: int = 64,
    track: Track = silent,
) -> tuple[Preprocess, tuple[PresetScore, ...]]:
    """Try every preset on some labelled samples.

    Args:
        session: The model.
        dataset: Labelled images.
        base: Geometry, layout and channel order to keep.
        presets: Scale, mean and std by name.
        output: As for `predict`.
        limit: Samples to use, spread over the classes.
        seed: Of their choice.
        batch_size: Samples per call.
        track: Progress.

    Returns:
        `base` with the scale, mean and std of the best preset (of those within one standard error of the highest
        top-1, the one with the highest mean log probability of the true class), and the scores of all in the order
        of `presets`.

    Raises:
        InputError: no labels, or the samples are fed as they are.
    """
    if dataset.labels is None:
        raise InputError(
            f"--preprocess auto needs labels, which {dataset.source} do not have: name a preset "
            f"({', '.join(presets)}) or give one sub-folder per class",
            "no-labels",
        )
    if dataset.preprocessed:
        raise InputError(
            f"--preprocess auto has nothing to choose: {dataset.source} are fed as they are, so leave it out "
            "or store uint8 pixels",
            "conflicting-options",
        )
    # Geometry first and once: the presets then share the decoded images.
    some = take(dataset, limit, seed).with_preprocess(base)
    tried = []
    for name, preset in presets.items():
        candidate = replace(base, scale=preset.scale, mean=preset.mean, std=preset.std)
        found = predict(session, some.with_preprocess(candidate), output=output, batch_size=batch_size, track=track)
        assert found.log_probability is not None
        score = PresetScore(name, found.accuracy.top1, float(found.log_probability.mean()))
        tried.append((score, candidate))
    return _best(tried, len(some)), tuple(score for score, _ in tried)


def _best(tried: Sequence[tuple[PresetScore, Preprocess]], samples: int) -> Preprocess:
    """The likeliest preset among those whose top-1 is within one standard error of the highest.

    Presets for similar data (imagenet, cifar10) differ by an image or two of some hundred, which is chance; the
    probability that the model gives to the true classes tells them apart.
    """
    top1 = max(score.top1 for score, _ in tried)
    error = math.sqrt(top1 * (1 - top1) / samples)
    close = [pair for pair in tried if pair[0].top1 >= top1 - error]
    return max(close, key=lambda pair: pair[0].log_probability)[1]
