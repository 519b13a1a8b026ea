"""Measuring a pruned model against the original: top-1 where there are labels, else the drift of the outputs."""

import math
from dataclasses import replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from onnxprune.errors import InputError
from onnxprune.evaluation import Drift, PairedChange, Predictions, drift, paired, predict
from onnxprune.graph.loaded import Model
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.samples import Samples
from onnxprune.runtime import Session, open_session
from onnxprune.selection.loss_limits import CLASS_DROP, MAX_DRIFT, MAX_DROP
from onnxprune.values.outcome import Quality
from onnxprune.values.progress import Track


class Evaluator:
    """Measures models on the data that no score saw; the original's answers are computed once."""

    def __init__(
        self, config: PruneConfig, model: Model, samples: Samples, track: Track, known: Predictions | None = None
    ) -> None:
        """Measure against `model`, of whose answers those on the data may be `known`."""
        self._config, self._model, self._track = config, model, track
        self._data, self._known = samples.measured, known
        self._unmeasured = samples.unmeasured
        self._answers: WeakKeyDictionary[Session, Predictions] = WeakKeyDictionary()
        self._drifts: WeakKeyDictionary[Session, Drift] = WeakKeyDictionary()

    def session(self) -> Session:
        """Open the original model."""
        config, model = self._config, self._model
        return open_session(model.proto, model.weights, name=str(config.model), threads=config.threads)

    @cached_property
    def _before(self) -> Predictions:
        if self._known is not None:
            return self._known
        return predict(self.session(), self._data, batch_size=self._config.batch_size, track=self._track)

    def _predicted(self, session: Session) -> Predictions:
        """Return a model's answers, which are computed once for as long as it is open."""
        if session not in self._answers:
            output, batch = self._before.output, self._config.batch_size
            self._answers[session] = predict(session, self._data, output=output, batch_size=batch, track=self._track)
        return self._answers[session]

    def quality(
        self, pruned: Session, than: Session | None = None, *, moved: bool = False, confidence: float | None = None
    ) -> Quality:
        """Measure a pruned model against another one (None: the original).

        With `moved` the change of its outputs is measured too where top-1 is. The bounds are at a confidence (None:
        that of the run).

        Raises:
            InputError: a model cannot run on the data, or no output can be compared that `moved` asks for.
        """
        data, confidence = self._data, self._config.confidence if confidence is None else confidence
        if data.labels is None or not self._config.check_accuracy:
            change = self._change(pruned, than, needed=moved)
            known = change.compared
            return Quality(
                data.source,
                len(data),
                drift=change.relative_l2,
                agreement=change.agreement,
                moved=change.worst if known else None,
                bounds={MAX_DRIFT: change.most(confidence)} if known else {},
            )
        old = self._before if than is None else self._predicted(than)
        new = self._predicted(pruned)
        difference = paired(old, new)
        found = Quality(
            data.source,
            len(data),
            before=old.accuracy,
            after=new.accuracy,
            change=difference.change,
            change_interval=difference.interval,
            class_names=data.class_names,
            among=() if data.outputs is None else data.class_names,
            bounds=self._bounds(old, new, difference, confidence),
        )
        if not moved:
            return found
        drifted = self._change(pruned, than, needed=True)
        bounds = {**found.bounds, MAX_DRIFT: drifted.most(confidence)}
        return replace(found, moved=drifted.worst, bounds=bounds)

    def bounds(self, pruned: Session, confidence: float, *, moved: bool = False) -> dict[str, float]:
        """Return the most that a pruned model lost against the original, at a confidence, by the names of limits.

        The answers are those that `quality` asked it for. With `moved` the change of its outputs is among them.
        """
        labelled = self._data.labels is not None and self._config.check_accuracy
        drifts = moved or not labelled
        found = {MAX_DRIFT: self._change(pruned, None, needed=moved).most(confidence)} if drifts else {}
        if labelled:
            old, new = self._before, self._predicted(pruned)
            found.update(self._bounds(old, new, paired(old, new), confidence))
        return found

    def moved(self, session: Session) -> float:
        """Return the most that the outputs of a model changed from the original's, at the confidence of the run."""
        return self._change(session, None, needed=True).most(self._config.confidence)

    def outputs(self, session: Session) -> Drift:
        """Return how far the outputs of a model are from the original's.

        Raises:
            InputError: the models share no output of numbers, or one cannot run on the data.
        """
        return self._change(session, None, needed=False)

    def answers(self, session: Session | None = None) -> Predictions:
        """Return what a model (None: the original) says of the data."""
        return self._before if session is None else self._predicted(session)

    def _bounds(
        self, old: Predictions, new: Predictions, difference: PairedChange, confidence: float
    ) -> dict[str, float]:
        """Return the most that top-1 lost, and any class where that is limited, at a confidence."""
        bounds = {MAX_DROP: difference.most_lost(confidence)}
        if self._config.max_class_drop is not None and old.labels is not None:
            labels = np.unique(old.labels).tolist()
            each = 1 - (1 - confidence) / len(labels)  # so that all of them hold at once
            lost = (paired(old, new, label).most_lost(each) for label in labels)
            bounds[CLASS_DROP] = math.inf if self._unmeasured else max(lost)
        return bounds

    def _change(self, pruned: Session, than: Session | None, *, needed: bool) -> Drift:
        """Compare the outputs, of which one at least has to be comparable where they are `needed`."""
        change = self._drifts.get(pruned) if than is None else None
        if change is None:
            other = self.session() if than is None else than
            change = drift(other, pruned, self._data, batch_size=self._config.batch_size, track=self._track)
            if than is None:
                self._drifts[pruned] = change
        if needed and not change.compared:
            reasons = "; ".join(f"'{name}': {reason}" for name, reason in change.skipped.items())
            raise InputError(
                f"No output can be compared with the original's, so no limit on its change can be held ({reasons}); "
                "say how much goes with a budget such as --macs 50%.",
                "wrong-outputs",
            )
        return change
