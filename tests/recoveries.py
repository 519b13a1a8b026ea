"""A net, its cut, and samples to recover with: shared by the tests of recovery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from nets import analysed, run
from numpy.typing import NDArray

from onnxprune.graph.model import read_graph
from onnxprune.recovery.products import mixed_targets
from onnxprune.recovery.recovery import Recovered, RecoveryTask, steps
from onnxprune.surgery.cut import Cut, cut

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Case:
    """A net, its cut, and samples to recover with and to judge by."""

    model: onnx.ModelProto
    result: Cut
    calls: Sequence[Mapping[str, Array]]
    unseen: Mapping[str, Array]

    def recovered(self, name: str, *, seed: int = 0, classes: bool = False) -> Recovered:
        judging = len(self.calls) // 5  # the last calls
        samples = sum(len(next(iter(call.values()))) for call in self.calls[: len(self.calls) - judging])
        model, found = self.result.model, None
        mixed = mixed_targets(read_graph(self.model), self.result.masks, self.calls, len(self.calls) - judging)
        for step in steps(name):
            sizes = (samples, judging, seed)
            task = RecoveryTask(self.model, model, self.result.masks, self.calls, *sizes, mixed=mixed, classes=classes)
            found = step.run(task)
            model = found.model
        assert found is not None
        return found

    def error(self, model: onnx.ModelProto) -> float:
        """Relative squared error of the outputs on samples that nothing has seen."""
        truth, found = run(self.model, self.unseen), run(model, self.unseen)
        assert all(np.isfinite(value).all() for value in found)
        wrong = sum(float(np.square(a - b).sum()) for a, b in zip(truth, found, strict=True))
        return wrong / sum(float(np.square(a).sum()) for a in truth)


def case(model: onnx.ModelProto, shape: Sequence[int], *, keep: Mapping[str, Array] | None = None, n: int = 40) -> Case:
    """Halve every group of a net (its first channels stay), with random samples of `shape`."""
    analysis = analysed(model)
    if keep is None:
        keep = {group.name: np.arange(group.size) < (group.size + 1) // 2 for group in analysis.prunable}
    assert keep
    rng = np.random.default_rng(1)
    values = rng.normal(0.3, 1.0, (n + 16, *shape)).astype(np.float32)
    name = model.graph.input[0].name
    calls = [{name: values[start : start + 8]} for start in range(0, n, 8)]
    return Case(model, cut(analysis, keep), calls, {name: values[n:]})
