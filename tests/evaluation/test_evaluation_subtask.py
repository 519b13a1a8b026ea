"""Accuracy on some of the classes: only their scores count, in a whole model and in one cut to them alike."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from refusals import refused

from onnxprune.data import Dataset, open_data
from onnxprune.evaluation import predict
from onnxprune.runtime import Session
from onnxprune.values.preprocess import Preprocess

SCORES = np.log(
    np.array(
        [
            [0.1, 0.2, 0.6, 0.1],  # class 1, lost to 2, which does not count
            [0.1, 0.2, 0.4, 0.3],  # class 3, the same
            [0.1, 0.5, 0.2, 0.2],  # class 3, lost to 1, which counts
            [0.7, 0.1, 0.1, 0.1],  # class 0, which is not asked for
        ],
        dtype=np.float32,
    )
)
LABELS = np.array([1, 3, 3, 0])


def session(op: str = "Identity", width: int = 4) -> Session:
    text = f'<ir_version: 8, opset_import: ["": 17]> g (float[n, {width}] x) => (float[n, {width}] y) {{ y = {op}(x) }}'
    return Session(onnx.parser.parse_model(text).SerializeToString(), name="net", threads=1)


def opened(folder: Path, model: Session, scores: np.ndarray = SCORES, only: tuple[str, ...] = ("1", "3")) -> Dataset:
    np.savez(folder / "d.npz", x=scores, y=LABELS)
    return open_data(folder / "d.npz", model.inputs, Preprocess(), only=only)


@pytest.mark.parametrize("op", ["Identity", "Softmax", "LogSoftmax"])
def test_only_the_scores_of_the_chosen_classes_count(tmp_path: Path, op: str) -> None:
    model = session(op)
    found = predict(model, opened(tmp_path, model), batch_size=2)
    assert found.classes == 2
    assert found.predicted.tolist() == [0, 1, 0]
    assert (found.accuracy.correct, found.accuracy.class_total) == (2, (1, 2))
    assert found.log_probability is not None
    np.testing.assert_allclose(np.exp(found.log_probability), [2 / 3, 3 / 5, 2 / 7], rtol=1e-6)


def test_a_model_cut_to_the_classes_is_measured_on_all_its_outputs(tmp_path: Path) -> None:
    whole, cut = session(), session(width=2)
    before = predict(whole, opened(tmp_path, whole))
    data = opened(tmp_path, cut, SCORES[:, [1, 3]])
    assert data.outputs == (1, 3)
    after = predict(cut, data)
    assert after.predicted.tolist() == before.predicted.tolist()
    assert after.accuracy == before.accuracy
    assert after.log_probability == pytest.approx(before.log_probability)


def test_a_model_without_such_outputs_is_refused(tmp_path: Path) -> None:
    model = session(width=3)
    with refused("bad-labels", "label 3", "'y'", "'net'", "3 classes"):
        predict(model, opened(tmp_path, model, SCORES[:, :3]))
