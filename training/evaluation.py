"""How good a classifier is on pictures it never saw, and whether it may be promoted.

N pictures, K classes.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CALIBRATION_BINS = 15
"""The usual number of equal confidence intervals, from Guo et al. 2017, "On Calibration of Modern
Neural Networks"."""


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """One class among the held-out pictures."""

    name: str
    """The class."""

    support: int
    """Held-out pictures of it."""

    precision: float | None
    """Part of the answers "it is this" that are right; None if it was never answered."""

    recall: float | None
    """Part of its pictures that were found; None if there are none."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A picture that the model got wrong."""

    index: int
    """Its place among the held-out pictures."""

    label: int
    """What it is."""

    predicted: int
    """What the model took it for."""

    confidence: float
    """The probability that the model gave its answer."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model on the held-out pictures."""

    count: int
    """N."""

    accuracy: float
    """Part that is right."""

    loss: float
    """Mean cross-entropy, natural logarithm."""

    calibration_error: float
    """Expected calibration error: mean distance between confidence and accuracy, 0 to 1."""

    classes: tuple[ClassScores, ...]
    """Each class, in the order of the logits."""

    confusion: tuple[tuple[int, ...], ...]
    """Pictures by what they are (row) and what they were taken for (column)."""

    worst_mistakes: tuple[Mistake, ...]
    """The mistakes the model was surest of, the surest first."""

    def metrics(self) -> dict[str, float]:
        """Returns the numbers to record, by name; per class `recall/NAME`, `precision/NAME`."""
        values = {
            "test_accuracy": self.accuracy,
            "test_loss": self.loss,
            "test_calibration_error": self.calibration_error,
        }
        for scores in self.classes:
            name = scores.name.replace("/", "-")
            if scores.precision is not None:
                values[f"precision/{name}"] = scores.precision
            if scores.recall is not None:
                values[f"recall/{name}"] = scores.recall
        return values

    def to_json(self) -> str:
        """Writes the evaluation as JSON."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Evaluation":
        """Reads what `to_json` wrote."""
        record: dict[str, Any] = json.loads(text)
        return cls(
            **record
            | {
                "classes": tuple(ClassScores(**scores) for scores in record["classes"]),
                "confusion": tuple(tuple(row) for row in record["confusion"]),
                "worst_mistakes": tuple(Mistake(**m) for m in record["worst_mistakes"]),
            }
        )


def evaluate(
    logits: Tensor, labels: Tensor, *, classes: tuple[str, ...], num_mistakes: int = 24
) -> Evaluation:
    """Evaluates logits, (N, K), against labels, (N,).

    Raises:
        ValueError: There is nothing to evaluate, or the logits are not finite.
    """
    if len(labels) == 0:
        raise ValueError("there are 0 held-out pictures; give at least one")
    if not torch.isfinite(logits).all():
        raise ValueError("the logits are not all finite; the model is broken, train it again")
    if logits.shape != (len(labels), len(classes)):
        shape = tuple(logits.shape)
        raise ValueError(f"logits are {shape} for {len(labels)} labels of {len(classes)} classes")
    probabilities = logits.double().softmax(dim=1)  # (N, K)
    confidence, predicted = probabilities.max(dim=1)  # (N,), (N,)
    is_right = predicted == labels
    confusion = _confusion(labels, predicted, len(classes))
    return Evaluation(
        count=len(labels),
        accuracy=float(is_right.double().mean()),
        loss=float(F.cross_entropy(logits.double(), labels)),
        calibration_error=calibration_error(confidence, is_right),
        classes=_class_scores(confusion, classes),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        worst_mistakes=_worst_mistakes(labels, predicted, confidence, num_mistakes),
    )


def calibration_error(
    confidence: Tensor, is_right: Tensor, *, bins: int = CALIBRATION_BINS
) -> float:
    """Returns the expected calibration error.

    Answers are sorted into `bins` equal intervals of confidence; the result is the mean over all
    answers of the distance between the mean confidence and the accuracy of their interval.

    >>> round(calibration_error(torch.tensor([0.9, 0.9]), torch.tensor([True, False])), 4)
    0.4
    """
    interval = (confidence * bins).ceil().long().clamp(
        1, bins
    ) - 1  # (lower, upper] as in the paper
    gaps = torch.zeros(bins, dtype=torch.float64)
    gaps.index_add_(0, interval, confidence.double() - is_right.double())
    return float(gaps.abs().sum()) / len(confidence)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a model may be promoted, and why."""

    promote: bool
    """The verdict."""

    reason: str
    """One line with the numbers it rests on."""


def decide(
    evaluation: Evaluation, *, min_accuracy: float, champion_accuracy: float | None = None
) -> Decision:
    """Decides by the gate: good enough by itself, and not worse than the present champion.

    Args:
        evaluation: Of the model that wants to be promoted.
        min_accuracy: The least accuracy on the held-out pictures, 0 to 1.
        champion_accuracy: That of the present champion on the same pictures, if there is one.

    Raises:
        ValueError: `min_accuracy` is not between 0 and 1.
    """
    check_min_accuracy(min_accuracy)
    accuracy = evaluation.accuracy
    if accuracy < min_accuracy:
        return Decision(
            promote=False,
            reason=f"accuracy {accuracy:.2%} is below the required {min_accuracy:.2%}",
        )
    if champion_accuracy is not None and accuracy < champion_accuracy:
        return Decision(
            promote=False,
            reason=f"accuracy {accuracy:.2%} is below the champion's {champion_accuracy:.2%}",
        )
    champion = "there is no champion"
    if champion_accuracy is not None:
        champion = f"the champion has {champion_accuracy:.2%}"
    return Decision(
        promote=True,
        reason=f"accuracy {accuracy:.2%} reaches the required {min_accuracy:.2%}; {champion}",
    )


def check_min_accuracy(min_accuracy: float) -> None:
    """Refuses a bar that makes no sense, for whoever wants to know before training.

    Raises:
        ValueError: It is not between 0 and 1.
    """
    if not 0 <= min_accuracy <= 1:
        raise ValueError(f"min_accuracy is {min_accuracy}; give a fraction from 0 to 1, as 0.98")


def _confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts the pictures, (K, K), by label (row) and answer (column)."""
    cells = torch.bincount(labels * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes)


def _class_scores(confusion: Tensor, classes: tuple[str, ...]) -> tuple[ClassScores, ...]:
    support, answered = confusion.sum(dim=1).tolist(), confusion.sum(dim=0).tolist()
    right = confusion.diagonal().tolist()
    return tuple(
        ClassScores(
            name=name,
            support=support[k],
            precision=right[k] / answered[k] if answered[k] else None,
            recall=right[k] / support[k] if support[k] else None,
        )
        for k, name in enumerate(classes)
    )


def _worst_mistakes(
    labels: Tensor, predicted: Tensor, confidence: Tensor, count: int
) -> tuple[Mistake, ...]:
    wrong = torch.nonzero(predicted != labels).flatten()
    order = torch.argsort(confidence[wrong], descending=True, stable=True)
    return tuple(
        Mistake(
            index=int(i),
            label=int(labels[i]),
            predicted=int(predicted[i]),
            confidence=float(confidence[i]),
        )
        for i in wrong[order][:count]
    )
