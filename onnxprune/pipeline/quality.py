"""Measuring a pruned model against the original: top-1 where there are labels, else the drift of the outputs."""

from functools import cached_property
from weakref import WeakKeyDictionary

from onnxprune.evaluation import Predictions, drift, paired, predict
from onnxprune.pipeline.samples import Samples
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.stages import Model
from onnxprune.runtime import Session, open_session
from onnxprune.values.outcome import Quality
from onnxprune.values.progress import Track


class Gauge:
    """Measures models on the data that no score saw; the original's answers are computed once."""

    def __init__(self, settings: Settings, model: Model, samples: Samples, track: Track) -> None:
        self._settings, self._model, self._track = settings, model, track
        self._data = samples.measured
        self._answers: WeakKeyDictionary[Session, Predictions] = WeakKeyDictionary()

    def session(self) -> Session:
        """Open the original model."""
        settings, model = self._settings, self._model
        return open_session(model.proto, model.weights, name=str(settings.model), threads=settings.threads)

    @cached_property
    def _before(self) -> Predictions:
        return predict(self.session(), self._data, batch_size=self._settings.batch_size, track=self._track)

    def _predicted(self, session: Session) -> Predictions:
        """Return a model's answers, which are computed once for as long as it is open."""
        if session not in self._answers:
            output, batch = self._before.output, self._settings.batch_size
            self._answers[session] = predict(session, self._data, output=output, batch_size=batch, track=self._track)
        return self._answers[session]

    def quality(self, pruned: Session, than: Session | None = None) -> Quality:
        """Measure a pruned model against another one; None: the original."""
        data, batch, track = self._data, self._settings.batch_size, self._track
        if data.labels is None or not self._settings.check_accuracy:
            change = drift(self.session() if than is None else than, pruned, data, batch_size=batch, track=track)
            return Quality(data.source, len(data), drift=change.relative_l2, agreement=change.agreement)
        old = self._before if than is None else self._predicted(than)
        new = self._predicted(pruned)
        difference = paired(old, new)
        return Quality(
            data.source,
            len(data),
            before=old.accuracy,
            after=new.accuracy,
            change=difference.change,
            change_interval=difference.interval,
            class_names=data.class_names,
            among=() if data.outputs is None else data.class_names,
        )
