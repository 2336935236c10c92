"""Evaluation: the numbers of a case counted by hand, and the gate that they go through."""

import math

import pytest
import torch

from training.evaluation import Evaluation, calibration_error, decide, evaluate

CLASSES = ("cat", "dog", "eel")


def sure(answers: list[int], confidence: float = 0.9) -> torch.Tensor:
    """Returns logits that give each answer with that probability."""
    rest = math.log((1 - confidence) / 2)
    logits = torch.full((len(answers), 3), rest, dtype=torch.float64)
    logits[torch.arange(len(answers)), torch.tensor(answers)] = math.log(confidence)
    return logits


def example() -> Evaluation:
    """Evaluates 4 right answers of 6; eel is never answered."""
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    logits = sure([0, 0, 1, 1, 1, 0])
    logits[5] = torch.tensor([5.0, 0.0, 0.0])  # the surest mistake
    return evaluate(logits, labels, classes=CLASSES)


def test_counted_by_hand() -> None:
    """Accuracy, loss, precision, recall and confusion are those of the definition."""
    found = example()

    assert found.count == 6
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.confusion == ((2, 1, 0), (0, 2, 0), (1, 0, 0))
    cat, dog, eel = found.classes
    assert (cat.support, cat.precision, cat.recall) == (3, 2 / 3, 2 / 3)
    assert (dog.support, dog.precision, dog.recall) == (2, 2 / 3, 1.0)
    assert (eel.support, eel.precision, eel.recall) == (1, None, 0.0)
    wrong = math.log(0.05) - math.log(math.exp(5) / (math.exp(5) + 2)) + 5 - math.log(0.05)
    right = -4 * math.log(0.9) - math.log(0.05)
    assert found.loss == pytest.approx((right + wrong) / 6)
    assert [(m.index, m.label, m.predicted) for m in found.worst_mistakes] == [(5, 2, 0), (2, 0, 1)]


def test_metrics_leave_out_what_is_not_known() -> None:
    """A class that was never answered has a recall and no precision."""
    metrics = example().metrics()

    assert metrics["recall/eel"] == 0.0
    assert "precision/eel" not in metrics
    assert metrics["test_accuracy"] == pytest.approx(4 / 6)


def test_json_roundtrip() -> None:
    """An evaluation comes back equal from JSON."""
    assert Evaluation.from_json(example().to_json()) == example()


def test_calibration_error() -> None:
    """It is 0 where confidence is accuracy, and the gap where it is not, weighted by interval."""
    confidence = torch.tensor([0.75] * 4 + [1.0] * 4, dtype=torch.float64)
    honest = torch.tensor([True, True, True, False] + [True] * 4)
    boastful = torch.tensor([True, True, True, False] + [False] * 4)

    assert calibration_error(confidence, honest) == 0
    assert calibration_error(confidence, boastful) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("champion", "bar", "promote", "reason"),
    [
        (None, 0.6, True, "accuracy 66.67% reaches the required 60.00%; there is no champion"),
        (0.5, 0.6, True, "accuracy 66.67% reaches the required 60.00%; the champion has 50.00%"),
        (4 / 6, 0.6, True, "accuracy 66.67% reaches the required 60.00%; the champion has 66.67%"),
        (0.7, 0.6, False, "accuracy 66.67% is below the champion's 70.00%"),
        (None, 0.7, False, "accuracy 66.67% is below the required 70.00%"),
        (0.1, 0.7, False, "accuracy 66.67% is below the required 70.00%"),
    ],
)
def test_gate(champion: float | None, bar: float, promote: bool, reason: str) -> None:
    """A model is promoted if it is good enough and no worse than the champion; it says why."""
    decision = decide(example(), min_accuracy=bar, champion_accuracy=champion)

    assert (decision.promote, decision.reason) == (promote, reason)


@pytest.mark.parametrize("bar", [-0.1, 98.5, float("nan")])
def test_gate_refuses_a_senseless_bar(bar: float) -> None:
    """A percentage where a fraction belongs is refused by name."""
    with pytest.raises(ValueError, match=f"min_accuracy is {bar}; give a fraction"):
        decide(example(), min_accuracy=bar)


def test_refused() -> None:
    """Nothing to evaluate, broken logits and wrong shapes are refused."""
    labels = torch.tensor([0])
    with pytest.raises(ValueError, match="0 held-out pictures"):
        evaluate(torch.zeros(0, 3), labels[:0], classes=CLASSES)
    with pytest.raises(ValueError, match="not all finite"):
        evaluate(torch.full((1, 3), float("nan")), labels, classes=CLASSES)
    with pytest.raises(ValueError, match=r"logits are \(1, 2\) for 1 labels of 3 classes"):
        evaluate(torch.zeros(1, 2), labels, classes=CLASSES)
