"""Opening the data of a run: what the scores see, what is measured on, and how pixels are scaled."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import Dataset, fit_and_judge, open_data, split
from onnxprune.data.split import choose
from onnxprune.data.subtask import numbers_of
from onnxprune.errors import InputError
from onnxprune.evaluation import (
    Predictions,
    alike,
    auto_preprocess,
    chance_level_message,
    declared_classes,
    is_near_chance_level,
    predict,
)
from onnxprune.graph.loaded import Model
from onnxprune.graph.storage.metadata import classes_left
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.recovery.recovery import NONE
from onnxprune.runtime import Session
from onnxprune.values.bounds import samples_for
from onnxprune.values.data import DataSummary, PresetScore
from onnxprune.values.preprocess import PRESETS, Preprocess, describe
from onnxprune.values.progress import Track


@dataclass(frozen=True, eq=False)
class Samples:
    """The data of a run.

    Attributes:
        whole: all of `--data`.
        calibration: what scores are computed from.
        measured: what accuracy is measured on; scores never see it.
        scaling: how pixels were scaled, in words.
        presets: what every preset scored, where they were tried.
        answers: what the model that pixels were scaled for says of all of `--data`; None without labels.
        held: what plans are tried on, where `measured` is data of its own that nothing may be chosen by.
        test: what was given apart to measure on; None: nothing was.
        seed: of the choice of samples.
        alike: in what way the outputs of the original hardly vary over the samples; None: they do.
        protected: classes, as the data number them, whose samples count `COUNTED` times in what is fitted.
        unprotected: why classes that a plan protects are not protected here; empty: they are, or there are none.
        others: samples of classes that were not chosen, which recovery may take in as well; None: there are none.
        without: why there are none, where the data have such classes; empty: they have none, or they are there.
    """

    whole: Dataset
    calibration: Dataset
    measured: Dataset
    scaling: str = ""
    presets: tuple[PresetScore, ...] = ()
    answers: Predictions | None = None
    held: Dataset | None = None
    test: Dataset | None = None
    seed: int = 0
    alike: str | None = None
    protected: tuple[int, ...] = ()
    unprotected: str = ""
    others: Dataset | None = None
    without: str = ""

    @property
    def known(self) -> Predictions | None:
        """Those of `answers` that are of what is measured on, where that is a part of `--data`; None: not known."""
        if self.answers is None or self.measured is self.test:
            return None
        return self.answers.of(self._places[self.measured.rows])

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """Where each of the reader's samples lies in `whole`, [samples of the reader up to the last one in it]."""
        found = np.zeros(int(self.whole.rows.max()) + 1, dtype=np.int64)
        found[self.whole.rows] = np.arange(len(self.whole))
        return found

    @cached_property
    def _parts(self) -> tuple[Dataset, Dataset]:
        return fit_and_judge(self.calibration, self.seed)

    @cached_property
    def fit(self) -> Dataset:
        """What scores, moments and weights come from; samples of protected classes are in it several times."""
        once = self._parts[0]
        if once.labels is None or not self.protected:
            return once
        again = np.flatnonzero(np.isin(once.labels, self.protected))
        return once.subset(np.concatenate([np.arange(len(once)), *([again] * (COUNTED - 1))]))

    @property
    def fitted(self) -> int:
        """How many different samples that are."""
        return len(self._parts[0])

    @property
    def protected_names(self) -> tuple[str, ...]:
        """The protected classes by name, or by number where they have none."""
        return self._named(self.protected)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The classes of the data, by name or number, that nothing is measured of: none of their samples is there."""
        if self.whole.labels is None or self.measured.labels is None:
            return ()
        return self._named(np.setdiff1d(self.whole.labels, self.measured.labels).tolist())

    def _named(self, numbers: Sequence[int]) -> tuple[str, ...]:
        names = self.whole.class_names
        return tuple(names[number] if number < len(names) else str(number) for number in numbers)

    @property
    def judge(self) -> Dataset:
        """What chooses between results of these: ridges, stages of the recovery, epochs of a training."""
        return self._parts[1]

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
        more = [data.skipped for data in (self.test, self.others) if data is not None]
        return tuple(dict.fromkeys((*self.calibration.skipped, *(name for skipped in more for name in skipped))))

    @property
    def converted(self) -> Mapping[str, int]:
        """How many images had their channels converted, by what was done."""
        return Counter(self.calibration.converted) + Counter({} if self.test is None else self.test.converted)

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
            original=None if self.answers is None else self.answers.accuracy,
            classes=self.classes,
            others=0 if self.others is None else len(self.others),
            skipped=self.skipped,
            converted=self.converted,
        )


COUNTED = 5
"""How often samples of protected classes count. On cifar10_resnet20 at half of the multiply-adds two classes lose 63 %
of what they would at 3, 34 % at 6, and the others .7 and 1.4 points more.
"""

ENOUGH = 800
"""Calibration samples beyond which more give little."""

HELD_OUT = 0.2
"""Share of the data that is kept for measuring where nothing else is asked for."""


def open_samples(
    config: PruneConfig,
    model: Model,
    *,
    chosen_by_loss: bool = False,
    limit: float | None = None,
    planned: bool = False,
) -> Samples:
    """Open the data and part them; nothing is run on them yet, see `scale_pixels`.

    Where plans are to be chosen by what they lose, a part of `--data` is held out for that beside `--test`; it is half
    of them, or all but `ENOUGH`, where so many can show that no more than `limit` of top-1 is lost. Classes that are to
    be protected because a plan says so (`planned`) need not be there.

    Raises:
        InputError: data that cannot be used.
    """
    if config.data is None and config.protect:
        raise InputError(
            "--protect needs labelled data that its classes are of; name a folder of images or an .npz with --data.",
            "no-data",
        )
    if config.data is None and config.classes:
        raise InputError(
            "--classes needs labelled data to choose from; name a folder of images or an .npz with --data.",
            "no-data",
        )
    if config.data is None:
        alone = ", or rank channels by their weights alone, with --method l1" if config.test is None else ""
        raise InputError(
            f"There is no sample data; name a folder of images or an .npz file with --data{alone}.", "no-data"
        )
    whole = _opened(config, model, config.data, config.pixels)
    share = _held_share(config, whole, limit if chosen_by_loss else None)
    protected, unprotected = _protected(config, whole, planned=planned)
    others, without = _others(config, model, config.data, whole)
    opened = partial(Samples, whole, seed=config.seed, others=others, without=without)
    opened = partial(opened, protected=protected, unprotected=unprotected)
    if config.test is None:
        calibration, held = split(whole, share, config.seed)
        return opened(calibration=calibration, measured=held)
    test = open_test(config, model, config.test, whole)
    calibration, tried_on = _split_to_try(whole, config, share) if chosen_by_loss else (whole, None)
    return opened(calibration=calibration, measured=test, held=tried_on, test=test)


def free_sizes(model: Model, samples: Samples) -> dict[str, tuple[int, ...]]:
    """Return the shapes that samples have in inputs whose sizes the model leaves free, by input."""
    shapes, feeds = model.graph.facts.shapes[0], next(samples.calibration.batches(1)).feeds
    return {
        name: tuple(value.shape)
        for name, value in feeds.items()
        if shapes.get(name, value.shape)[1:] != value.shape[1:]
    }


def open_measured(config: PruneConfig, model: Model) -> Samples:
    """Open data of which everything is measured on, and nothing is chosen by.

    Raises:
        InputError: data that cannot be used.
    """
    assert config.data is not None
    whole = _opened(config, model, config.data, config.pixels)
    return Samples(whole, calibration=whole, measured=whole, seed=config.seed)


def _protected(config: PruneConfig, whole: Dataset, *, planned: bool) -> tuple[tuple[int, ...], str]:
    """Return the numbers of the classes to protect, or none and why."""
    of = f"the choice of --classes in '{config.data}'" if config.classes else f"'{config.data}'"

    def numbers(names: Sequence[str]) -> tuple[int, ...]:
        return numbers_of(names, whole.class_names, whole.labels, None, of, "--protect", whole.outputs)

    if not planned:
        return numbers(config.protect) if config.protect else (), ""
    found, missing = list[int](), list[str]()
    for name in config.protect:
        try:
            found += numbers((name,))
        except InputError:
            missing.append(name)
    return tuple(sorted({*found})), f"of {', '.join(missing)} there are no samples here" if missing else ""


def scale_pixels(samples: Samples, config: PruneConfig, session: Session, track: Track) -> Samples:
    """Settle how pixels are scaled, and check that the original model is better than guessing.

    Raises:
        InputError: a scaling that the data cannot have, or an original model near chance.
    """
    whole, scaling, presets = _scaled(config, session, samples.whole, track)
    answers = None
    said = alike(session, whole, config.seed)
    if whole.labels is not None and config.check_accuracy:
        answers = predict(session, whole, batch_size=config.batch_size, track=track)
        if is_near_chance_level(answers.accuracy):
            raise InputError(chance_level_message(answers.accuracy, answers.output), "chance-level")
    samples = replace(samples, scaling=scaling, presets=presets, answers=answers, alike=said)
    if whole is samples.whole:
        return samples
    treatment = whole.preprocess
    measured = samples.measured if samples.measured.preprocessed else samples.measured.with_preprocess(treatment)
    return replace(
        samples,
        whole=whole,
        calibration=samples.calibration.with_preprocess(treatment),
        measured=measured,
        held=None if samples.held is None else samples.held.with_preprocess(treatment),
        test=None if samples.test is None else measured,
        others=None if samples.others is None else samples.others.with_preprocess(treatment),
    )


def _others(config: PruneConfig, model: Model, path: Path, chosen: Dataset) -> tuple[Dataset | None, str]:
    """Return samples of the classes that were not chosen, up to `ENOUGH` in all, or None and why.

    Few classes have few samples, and what a layer does is seen on any. Data whose other classes cannot be read (folders
    that no line of --labels names) have none.
    """
    if not config.classes or config.recovered_by == NONE or chosen.reader.one_by_one or chosen.outputs is None:
        return None, ""
    try:
        whole = _opened(config, model, path, config.pixels, of_all=2 * ENOUGH)
    except InputError as reason:
        return None, str(reason)
    assert whole.labels is not None
    rows = np.flatnonzero(~np.isin(whole.labels, chosen.outputs))
    room = min(len(rows), ENOUGH - len(chosen))
    if room <= 0:
        return None, ""
    return whole.subset(rows[choose(whole.labels[rows], len(rows), room, config.seed)]), ""


def _held_share(config: PruneConfig, whole: Dataset, limit: float | None) -> float:
    """Return which share of the data is held out."""
    if config.holdout is not None:
        return config.holdout
    can_show = limit is not None and 0 < samples_for(limit, config.confidence) <= len(whole) // 2
    return max(0.5, 1 - ENOUGH / len(whole)) if can_show and whole.labels is not None else HELD_OUT


def _split_to_try(whole: Dataset, config: PruneConfig, share: float) -> tuple[Dataset, Dataset]:
    try:
        return split(whole, share, config.seed)
    except InputError:
        if not 0 < share < 1:
            raise
        raise InputError(
            f"{whole.source} has one sample, so none can be held out to try plans on, which --test data "
            "are not for; add samples, or say how much goes with a budget such as --macs 50%.",
            "too-few-samples",
        ) from None


def measured_on(path: Path | None, samples: Samples, config: PruneConfig, model: Model) -> Samples:
    """Return the samples with the data of `path` as what is measured on; None: as they are.

    Raises:
        InputError: data that cannot be used, or that numbers its classes otherwise.
    """
    if path is None:
        return samples
    test = open_test(config, model, path, samples.calibration)
    return replace(samples, measured=test, test=test)


def open_test(config: PruneConfig, model: Model, path: Path, like: Dataset) -> Dataset:
    """Open more data, whose pixels are treated as those of `like`, a part of the run's data.

    Raises:
        InputError: data that cannot be used, or that numbers its classes otherwise.
    """
    found = _opened(config, model, path, like.preprocess)
    if found.outputs != like.outputs:
        raise InputError(
            f"'{config.data}' and '{path}' number the classes differently: pass --labels FILE with the "
            "class names, one per line, in the order of the model's outputs",
            "bad-labels",
        )
    return found


def _opened(
    config: PruneConfig, model: Model, path: Path, preprocess: Preprocess, *, of_all: int | None = None
) -> Dataset:
    """Open data of the chosen classes, or so many samples of all classes."""
    specs = model.graph.input_specs
    for spec in specs:
        if model.graph.facts.shape_pair(spec.name) is None:
            raise InputError(
                f"input '{spec.name}' has no recorded shape, and no layer that reads it says how many axes it has: "
                "export the model with the shapes of its inputs",
                "unsupported-model",
            )
    left = () if config.labels is not None else classes_left(model.proto)
    numbered = not any(name.isdecimal() for name in left)
    lost = [name for name in config.classes if left and name not in left and not (numbered and name.isdecimal())]
    if lost:
        raise InputError(
            f"'{model.path}' was cut to the classes {', '.join(left)}, and {lost[0]!r} of --classes is none of them; "
            "name some of these, or take the model that it was cut from.",
            "unknown-name",
        )
    return open_data(
        path,
        specs,
        preprocess,
        labels_file=config.labels,
        names=left,
        classes=declared_classes(model.graph.output_specs),
        only=() if of_all is not None else config.classes or left,
        limit=of_all,
        seed=config.seed,
    )


def _scaled(
    config: PruneConfig, session: Session, data: Dataset, track: Track
) -> tuple[Dataset, str, tuple[PresetScore, ...]]:
    """Return the data with its final scaling, in words, and the presets' table where they were tried."""
    if data.preprocessed:
        return data, "as given (already preprocessed)", ()
    scaling = config.scaling
    if scaling is None:
        scaling = "auto" if data.labels is not None and config.check_accuracy else "unit"
    if scaling == "explicit":
        return data, "as given", ()
    if scaling != "auto":
        return data.with_preprocess(config.pixels.with_preset(scaling)), f"preset {scaling}", ()
    chosen, presets = auto_preprocess(
        session, data, config.pixels, seed=config.seed, batch_size=config.batch_size, track=track
    )
    return data.with_preprocess(chosen), f"preset {_preset_name(config.pixels, chosen)} (found)", presets


def _preset_name(base: Preprocess, chosen: Preprocess) -> str:
    return next(name for name in PRESETS if base.with_preset(name) == chosen)
