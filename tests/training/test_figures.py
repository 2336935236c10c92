"""Figures: small, offline, the same bytes for the same run, and safe with strange class names."""

import re

import pytest
import torch

from training.evaluation import Evaluation, evaluate
from training.figures import confusion_matrix, evaluation_table, training_curves, worst_mistakes
from training.training_result import EpochRecord

IMAGES = torch.randint(0, 256, (60, 28, 28), dtype=torch.uint8)


def history(epochs: int) -> list[EpochRecord]:
    """Returns that many epochs, every second of them scored."""
    return [
        EpochRecord(
            epoch=epoch,
            step=epoch * 10,
            train_loss=2 / epoch,
            train_accuracy=1 - 1 / epoch,
            test_loss=1 / epoch if epoch % 2 else None,
            test_accuracy=1 - 0.5 / epoch if epoch % 2 else None,
            learning_rate=0.1,
            images_per_second=1000.0,
            train_seconds=1.0,
            test_seconds=0.1,
        )
        for epoch in range(1, epochs + 1)
    ]


def evaluation(*, right: bool) -> Evaluation:
    """Returns an evaluation in which every answer is right, or every one wrong."""
    labels = torch.arange(60) % 12
    answers = labels if right else (labels + 1) % 12
    logits = torch.nn.functional.one_hot(answers, 12).float() * 4
    return evaluate(logits, labels, classes=("<b>&", *"bcdefghijkl"))


FIGURES = {
    "curves": lambda: training_curves(history(45)),
    "long curves": lambda: training_curves(history(5_000)),
    "one epoch": lambda: training_curves(history(1)),
    "confusion": lambda: confusion_matrix(evaluation(right=False)),
    "mistakes": lambda: worst_mistakes(evaluation(right=False), IMAGES),
    "no mistakes": lambda: worst_mistakes(evaluation(right=True), IMAGES),
    "table": lambda: evaluation_table(evaluation(right=False)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_fragment_stands_alone(name: str) -> None:
    """Each is one HTML element under 300 KB that loads nothing and holds no raw markup of names."""
    html = FIGURES[name]()

    assert html.startswith("<figure")
    assert html.rstrip().endswith("</figure>")
    assert len(html.encode()) < 300_000
    loads = re.findall(r'(?:src|href)="(?!#|data:)[^"]*"|url\((?!#)', html)
    assert not loads
    assert "<script" not in html
    assert "<b>&<" not in html


def test_same_run_same_bytes() -> None:
    """A figure drawn twice is the same, so that an artifact does not change by itself."""
    for name in ("curves", "confusion", "mistakes"):
        assert FIGURES[name]() == FIGURES[name]()


def test_nothing_to_draw_is_refused() -> None:
    """A run that stopped before its first epoch has no curves."""
    with pytest.raises(ValueError, match="history has 0 epochs"):
        training_curves([])
