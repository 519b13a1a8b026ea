"""Opening the data of a run: what the scores see, what is measured on, and how pixels are scaled."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from onnxprune.data import Dataset, open_data, split
from onnxprune.errors import InputError
from onnxprune.evaluation import auto_preprocess, chance_message, declared_classes, is_near_chance, predict
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.metadata import classes_left
from onnxprune.pipeline.config import Settings
from onnxprune.runtime import Session
from onnxprune.values.accuracy import Accuracy
from onnxprune.values.data import DataSummary, PresetScore
from onnxprune.values.preprocess import PRESETS, Preprocess, describe
from onnxprune.values.progress import Track


@dataclass(frozen=True, eq=False)
class Samples:
    """The data of a run.

    Attributes:
        calibration: what scores are computed from.
        measured: what accuracy is measured on; scores never see it.
        scaling: how pixels were scaled, in words.
        presets: what every preset scored, where they were tried.
        original: accuracy of the original model on all of `--data`; None without labels.
        held: what plans are tried on, where `measured` is data of its own that nothing may be chosen by.
    """

    calibration: Dataset
    measured: Dataset
    scaling: str
    presets: tuple[PresetScore, ...]
    original: Accuracy | None
    held: Dataset | None = None

    @property
    def tried_on(self) -> Dataset:
        """What plans are tried on: data that no score and no recovery saw."""
        return self.measured if self.held is None else self.held

    @property
    def classes(self) -> Mapping[str, int]:
        """The chosen classes as name -> output of the model; empty where the data was not restricted to some."""
        return dict(zip(self.calibration.class_names, self.calibration.outputs or (), strict=False))

    @property
    def skipped(self) -> tuple[str, ...]:
        """Files that could not be decoded."""
        return (*self.calibration.skipped, *(self.measured.skipped if self.has_own_test else ()))

    @property
    def has_own_test(self) -> bool:
        """Whether the measured data was given apart."""
        return self.measured.reader is not self.calibration.reader

    @property
    def summary(self) -> DataSummary:
        """The data in counts and words."""
        data = self.calibration
        return DataSummary(
            calibration=len(data),
            measured=len(self.measured),
            held=None if self.held is None else len(self.held),
            scaling=self.scaling if data.preprocessed else f"{self.scaling}: {describe(data.preprocess)}",
            presets=self.presets,
            original=self.original,
            classes=self.classes,
            skipped=self.skipped,
        )


def open_samples(settings: Settings, model: Model, session: Session, track: Track, *, tries: bool = False) -> Samples:
    """Open the data, settle the scaling, and check that the original model is better than guessing on it.

    Where plans are to be chosen by what they lose (`tries`), a part of `--data` is held out for that beside `--test`.

    Raises:
        InputError: data that cannot be used, or an original model near chance.
    """
    if settings.data is None and settings.classes:
        raise InputError(
            "--classes needs labelled data to choose from; name a folder of images or an .npz with --data."
        )
    if settings.data is None:
        raise InputError("There is no sample data; name a folder of images or an .npz file with --data.")
    whole = _opened(settings, model, settings.data, settings.preprocess)
    whole, scaling, presets = _scaled(settings, session, whole, track)
    original = None
    if whole.labels is not None and settings.check_accuracy:
        original = predict(session, whole, batch_size=settings.batch_size, track=track).accuracy
        if is_near_chance(original):
            raise InputError(chance_message(original))
    if settings.test is not None:
        test = open_test(settings, model, settings.test, whole)
        calibration, held = _split_to_try(whole, settings) if tries else (whole, None)
        return Samples(calibration, test, scaling, presets, original, held)
    calibration, held = split(whole, settings.holdout, settings.seed)
    return Samples(calibration, held, scaling, presets, original)


def _split_to_try(whole: Dataset, settings: Settings) -> tuple[Dataset, Dataset]:
    try:
        return split(whole, settings.holdout, settings.seed)
    except InputError:
        if not 0 < settings.holdout < 1:
            raise
        raise InputError(
            f"No class of {whole.source} has two samples, so none can be held out to try plans on, which --test data "
            "are not for; add samples, or say how much goes with a budget such as --macs 50%."
        ) from None


def measured_on(path: Path | None, samples: Samples, settings: Settings, model: Model) -> Samples:
    """Return the samples with the data of `path` as what is measured on; None: as they are.

    Raises:
        InputError: data that cannot be used, or that numbers its classes otherwise.
    """
    if path is None:
        return samples
    return replace(samples, measured=open_test(settings, model, path, samples.calibration))


def open_test(settings: Settings, model: Model, path: Path, like: Dataset) -> Dataset:
    """Open more data, whose pixels are treated as those of `like`, a part of the run's data.

    Raises:
        InputError: data that cannot be used, or that numbers its classes otherwise.
    """
    found = _opened(settings, model, path, like.preprocess)
    if found.outputs != like.outputs:
        raise InputError(
            f"'{settings.data}' and '{path}' number the classes differently: pass --labels FILE with the "
            "class names, one per line, in the order of the model's outputs"
        )
    return found


def _opened(settings: Settings, model: Model, path: Path, preprocess: Preprocess) -> Dataset:
    specs = model.graph.input_specs
    for spec in specs:
        if model.graph.facts.shape_pair(spec.name) is None:
            raise InputError(
                f"input '{spec.name}' has no recorded shape, and no layer that reads it says how many axes it has: "
                "export the model with the shapes of its inputs"
            )
    left = () if settings.labels is not None else classes_left(model.proto)
    return open_data(
        path,
        specs,
        preprocess,
        labels_file=settings.labels,
        names=left,
        classes=declared_classes(model.graph.output_specs),
        only=settings.classes or left,
    )


def _scaled(
    settings: Settings, session: Session, data: Dataset, track: Track
) -> tuple[Dataset, str, tuple[PresetScore, ...]]:
    """Return the data with its final scaling, in words, and the presets' table where they were tried."""
    if data.preprocessed:
        return data, "as given (already preprocessed)", ()
    scaling = settings.scaling
    if scaling is None:
        scaling = "auto" if data.labels is not None and settings.check_accuracy else "unit"
    if scaling == "explicit":
        return data, "as given", ()
    if scaling != "auto":
        return data.with_preprocess(settings.preprocess.with_preset(scaling)), f"preset {scaling}", ()
    chosen, presets = auto_preprocess(
        session, data, settings.preprocess, seed=settings.seed, batch_size=settings.batch_size, track=track
    )
    return data.with_preprocess(chosen), f"preset {_preset_name(settings.preprocess, chosen)} (found)", presets


def _preset_name(base: Preprocess, chosen: Preprocess) -> str:
    return next(name for name in PRESETS if base.with_preset(name) == chosen)
