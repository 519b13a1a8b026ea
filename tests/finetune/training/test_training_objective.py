"""Losses and penalties against what can be computed by hand, and which parameters are trained."""

import math

import numpy as np
import pytest
from refusals import refused
from training_nets import CONVNET, PLAIN, graph

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from onnxprune.finetune.interpreter.parameters import trained_constants  # noqa: E402
from onnxprune.finetune.training.objective import (  # noqa: E402
    Answers,
    block_losses,
    orthogonality,
    penalty,
    sample_losses,
    square_kernels,
)
from onnxprune.finetune.training.part import chosen  # noqa: E402
from onnxprune.finetune.training.recipe import Recipe, rate_factor  # noqa: E402

STUDENT = torch.tensor([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]])
TEACHER = torch.tensor([[2.0, 0.0, -2.0], [0.0, 1.0, 0.0]])
LABELS = torch.tensor([0, 2])


def softmax(row: list[float], heat: float = 1.0) -> list[float]:
    powers = [math.exp(value / heat) for value in row]
    return [value / sum(powers) for value in powers]


def divergence(teacher: list[float], student: list[float], heat: float) -> float:
    wanted, found = softmax(teacher, heat), softmax(student, heat)
    return heat**2 * sum(p * math.log(p / q) for p, q in zip(wanted, found, strict=True))


def test_with_labels_alone_the_loss_is_the_cross_entropy() -> None:
    losses = sample_losses(Recipe(teach=0.7), Answers(0), [STUDENT], None, LABELS)
    expected = [-math.log(softmax(STUDENT[n].tolist())[LABELS[n]]) for n in range(2)]
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-6)


def test_with_a_teacher_its_softened_answers_have_their_share() -> None:
    recipe = Recipe(teach=0.25, temperature=3.0)
    losses = sample_losses(recipe, Answers(0), [STUDENT], [TEACHER], LABELS)
    entropy = [-math.log(softmax(STUDENT[n].tolist())[LABELS[n]]) for n in range(2)]
    taught = [divergence(TEACHER[n].tolist(), STUDENT[n].tolist(), 3.0) for n in range(2)]
    expected = [0.75 * a + 0.25 * b for a, b in zip(entropy, taught, strict=True)]
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-5)


def test_without_labels_the_teacher_alone_counts() -> None:
    losses = sample_losses(Recipe(teach=0.25, temperature=1.0), Answers(0), [STUDENT], [TEACHER], None)
    taught = [divergence(TEACHER[n].tolist(), STUDENT[n].tolist(), 1.0) for n in range(2)]
    np.testing.assert_allclose(losses.numpy(), taught, rtol=1e-5)


def test_probabilities_count_as_the_scores_that_they_come_from() -> None:
    recipe, answers = Recipe(), Answers(0, probabilities=True)
    given = sample_losses(recipe, answers, [STUDENT.softmax(1)], [TEACHER.softmax(1)], LABELS)
    scores = sample_losses(recipe, Answers(0), [STUDENT], [TEACHER], LABELS)
    np.testing.assert_allclose(given.numpy(), scores.numpy(), rtol=1e-5)


def test_a_teacher_may_answer_in_probabilities_where_the_model_does_not() -> None:
    given = sample_losses(Recipe(), Answers(0, taught_probabilities=True), [STUDENT], [TEACHER.softmax(1)], LABELS)
    scores = sample_losses(Recipe(), Answers(0), [STUDENT], [TEACHER], LABELS)
    np.testing.assert_allclose(given.numpy(), scores.numpy(), rtol=1e-5)


def test_of_some_classes_only_their_scores_count() -> None:
    losses = sample_losses(Recipe(), Answers(0, columns=(2, 0)), [STUDENT], None, torch.tensor([0, 1]))
    expected = [-math.log(softmax([-1.0, 1.0])[0]), -math.log(softmax([0.0, 0.5])[1])]
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-6)


def test_without_classes_the_relative_distance_of_all_float_outputs_counts() -> None:
    outputs = [STUDENT, torch.ones(2, 2, 2), torch.tensor([1, 2])]
    taught = [TEACHER, torch.full((2, 2, 2), 2.0), torch.tensor([3, 4])]
    losses = sample_losses(Recipe(), Answers(None), outputs, taught, None)
    first = [(1 + 0 + 1) / 8, (0.25 + 1 + 0) / 1]
    np.testing.assert_allclose(losses.numpy(), [(value + 4 / 16) / 2 for value in first], rtol=1e-6)


def test_orthogonal_filters_cost_nothing_and_others_their_overlaps() -> None:
    centre = torch.zeros(2, 2, 3, 3)
    centre[0, 0, 1, 1] = centre[1, 1, 1, 1] = 1.0
    assert orthogonality(centre).item() == 0.0
    same = centre.clone()
    same[1] = same[0]  # K K' has ones beside the diagonal, twice
    assert orthogonality(same).item() == pytest.approx(math.sqrt(2))
    spread = torch.zeros(1, 1, 3, 3)
    spread[0, 0, 1, 1], spread[0, 0, 1, 2] = 1.0, 0.5
    # Overlaps with itself: 1.25 at the centre, of which the 1 is wanted, and 0.5 when shifted to either side.
    assert orthogonality(spread).item() == pytest.approx(math.sqrt(0.25**2 + 2 * 0.5**2))


def test_penalties_are_the_sums_that_the_loss_says() -> None:
    parameters = {"w1": torch.ones(8, 1, 3, 3), "w2": torch.full((8, 8, 3, 3), -0.5), "b1": torch.ones(8)}
    assert penalty(Recipe(), parameters, ["w2"]) is None
    kernels = square_kernels(graph(), parameters)
    assert kernels == ("w1", "w2")
    found = penalty(Recipe(l1=0.1, orthogonal=0.01), parameters, ["w2"])
    assert found is not None
    assert found.item() == pytest.approx(0.1 * (72 + 288 + 8) + 0.01 * orthogonality(parameters["w2"]).item())


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("full", {"w1", "b1", "scale", "shift", "w2", "b2", "wf", "bf"}),
        ("tail", {"wf", "bf"}),
        ("fc", {"wf", "bf"}),
        ("norm", {"b1", "scale", "shift", "b2", "bf"}),
        ("none", set()),
    ],
)
def test_a_part_of_the_network_has_these_parameters(part: str, names: set[str]) -> None:
    assert chosen(graph(), trained_constants(graph()), part) == names  # type: ignore[arg-type]


def test_a_network_without_such_a_part_is_refused() -> None:
    end = CONVNET.index("g = GlobalAveragePool")
    convolutions = CONVNET[:end].replace("float[N, 3] y", "float[N, 8, 8, 8] y").replace("r2 = Relu", "y = Relu") + "}"
    found = graph(convolutions.replace(", float[3, 8] wf, float[3] bf", ""))
    with refused("unsupported-model", "--train fc"):
        chosen(found, trained_constants(found), "fc")


def test_running_statistics_are_no_parameters() -> None:
    assert set(trained_constants(graph())) == {"w1", "b1", "scale", "shift", "w2", "b2", "wf", "bf"}
    assert set(trained_constants(graph(PLAIN))) == {"w1", "b1", "w2", "b2", "wf", "bf"}


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_the_rate_grows_and_then_falls_and_is_never_zero(schedule: str) -> None:
    recipe = Recipe(epochs=8, schedule=schedule, warmup=1.0, every=3, drop=0.5)  # type: ignore[arg-type]
    factors = [rate_factor(recipe, 10, step) for step in range(80)]
    warm, rest = factors[:10], factors[10:]
    assert warm == sorted(set(warm))
    assert rest == sorted(rest, reverse=True)
    assert min(factors) > 0
    assert max(factors) == 1.0
    assert factors[79] == {"cosine": pytest.approx(0.0005, abs=1e-4), "step": 0.25, "constant": 1.0}[schedule]


def test_a_warm_up_longer_than_the_training_still_trains() -> None:
    factors = [rate_factor(Recipe(epochs=1, warmup=5.0), 4, step) for step in range(4)]
    assert factors == sorted(factors)
    assert factors[0] > 0


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"rate": -1.0}, "--lr"),
        ({"rate": float("nan")}, "--lr"),
        ({"teach": 1.5}, "--teach"),
        ({"l1": -0.1}, "--l1"),
    ],
)
def test_settings_without_sense_are_refused(wrong: dict[str, float], option: str) -> None:
    with refused("bad-value", option):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_blocks_are_compared_in_units_of_the_teachers_variance() -> None:
    wanted = torch.tensor([[[1.0, 3.0]], [[5.0, 7.0]]])
    found = wanted + torch.tensor([[[1.0, 1.0]], [[0.0, 2.0]]])
    losses = block_losses([found, torch.tensor([1, 2])], [wanted, torch.tensor([3, 4])])
    assert losses.tolist() == pytest.approx([1 / 5, 2 / 5])  # of variance 5; whole numbers are left out


def test_blocks_stand_in_for_the_answers_of_a_teacher() -> None:
    blocks = [STUDENT, STUDENT + 1.0], [TEACHER, TEACHER]
    alone = sample_losses(Recipe(teach=0.3), Answers(0), *blocks, None, blocks=1)
    assert alone.tolist() == pytest.approx(block_losses(*blocks).tolist())
    both = sample_losses(Recipe(teach=0.3), Answers(0), *blocks, LABELS, blocks=1)
    labels = sample_losses(Recipe(teach=0.0), Answers(0), *blocks, LABELS)
    assert both.tolist() == pytest.approx((0.7 * labels + 0.3 * alone).tolist())
