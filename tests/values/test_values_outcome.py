"""What a run comes to, as values and as JSON."""

import json

import numpy as np
import pytest

from onnxprune.values.accuracy import Accuracy
from onnxprune.values.axes import Axis, Ref, frozen_array
from onnxprune.values.costs import CostTable, Term
from onnxprune.values.outcome import Figures, Quality

BEFORE = Accuracy(9, 10, (4, 5, 0), (4, 6, 0))
AFTER = Accuracy(6, 10, (4, 2, 0), (4, 6, 0))


def test_classes_are_listed_with_the_greatest_loss_first() -> None:
    rows = Quality("data", 10, BEFORE, AFTER, class_names=("cat", "dog")).classes
    assert [(row.name, row.samples) for row in rows] == [("dog", 6), ("cat", 4)]
    assert rows[0].drop == pytest.approx(0.5, abs=1e-12)
    assert rows[1].drop == 0.0


def test_classes_without_a_name_go_by_number() -> None:
    assert [row.name for row in Quality("data", 10, BEFORE, AFTER).classes] == ["1", "0"]


def test_without_labels_there_are_no_classes() -> None:
    assert Quality("data", 10, drift={"y": 0.1}).classes == ()


def test_outcomes_are_json() -> None:
    quality = Quality("data", 10, BEFORE, AFTER, -0.3, (-0.6, 0.0), ("cat", "dog"))
    found = json.loads(json.dumps(quality.to_json()))
    assert (found["samples"], found["change"], found["change_interval95"]) == (10, -0.3, [-0.6, 0.0])
    assert found["before"]["top1"] == 0.9
    drifted = json.loads(json.dumps(Quality("data", 10, drift={"y": 0.1}, agreement={"y": 0.9}).to_json()))
    assert (drifted["drift"], drifted["agreement"], drifted["before"]) == ({"y": 0.1}, {"y": 0.9}, None)
    figures = Figures(params=10, macs=20.0, size=30, channels=4)
    assert json.loads(json.dumps(figures.to_json())) == {
        "params": 10,
        "single_ms": None,
        "macs": 20.0,
        "size": 30,
        "channels": 4,
        "latency_ms": None,
    }


def test_costs_are_products_of_what_is_left_of_each_axis() -> None:
    """Two groups: `a` of 4 channels, twice each on axis 0; `b` of 3 channels, once on either axis."""
    table = CostTable(
        groups=("a", "b"),
        sizes=np.array([4.0, 3.0]),
        widths=np.array([11.0, 3.0]),
        multiplicity=np.array([[2.0, 1.0], [0.0, 1.0]]),
        macs=(Term(0, 10.0, (0,)), Term(1, 1.0, (0, 1)), Term(1, 5.0, ())),
        params=(Term(0, 1.0, (0, 1)),),
    )
    assert table.widths_at({}).tolist() == [11.0, 3.0]
    assert table.widths_at({"a": 1, "b": 2}).tolist() == [4.0, 2.0]
    assert table.macs_at({"a": 1, "b": 2}) == 10 * 4 + 4 * 2 + 5
    assert table.params_at({"b": 1}) == 9 * 1
    assert table.layer_macs({"a": 3}) == {0: 90.0, 1: 9 * 3 + 5.0}


def test_axes_are_named_by_tensor_and_place() -> None:
    assert str(Axis(Ref("conv/out"), 1)) == "conv/out:1"
    assert Ref("w", 3, 1).is_use
    assert not Ref("x").is_use


def test_frozen_arrays_are_apart_from_what_they_were_made_of() -> None:
    source = np.array([1, 2, 3])
    frozen = frozen_array(source)
    source[0] = 9
    assert frozen.tolist() == [1, 2, 3]
    assert frozen_array(frozen) is frozen
    with pytest.raises(ValueError, match="read-only"):
        frozen[0] = 5
