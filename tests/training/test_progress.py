"""What a person sees: lines in a log, a bar on a terminal."""

import io

from training.progress import ProgressBar, ProgressLines, progress_reporter
from training.reporter import Progress


def progress(step: int, loss: float | None = 0.5) -> Progress:
    """Returns the state after a step of 20 in 2 epochs."""
    return Progress(
        step=step,
        total_steps=20,
        epoch=1 + step // 11,
        epochs=2,
        loss=loss,
        items_per_second=1234.5,
    )


def test_one_line_per_epoch() -> None:
    """Away from a terminal, short epochs give one line each."""
    out = io.StringIO()
    reporter = progress_reporter(out)
    for epoch in (1, 2):
        for step in range(10):
            reporter.step(progress(epoch * 10 - 9 + step))
        values = {"epoch": float(epoch), "train_loss": 0.123456, "images_per_second": 2345.6}
        reporter.metrics(values, step=epoch * 10)
    reporter.close()

    assert out.getvalue().splitlines() == [
        "step 10  epoch 1  train_loss 0.1235  images_per_second 2,346",
        "step 20  epoch 2  train_loss 0.1235  images_per_second 2,346",
    ]


def test_a_long_epoch_says_where_it_stands() -> None:
    """Every ten seconds of silence end with a line, with the loss where it is known."""
    out, now = io.StringIO(), [0.0]
    reporter = ProgressLines(out, now=lambda: now[0])
    for step in range(1, 5):
        now[0] += 6
        reporter.step(progress(step, loss=None if step < 3 else 0.25))

    assert out.getvalue().splitlines() == [
        "epoch 1/2  step 2/20  1,234 images/s",
        "epoch 1/2  step 4/20  loss 0.2500  1,234 images/s",
    ]


def test_a_bar_on_a_terminal() -> None:
    """On a terminal there is a bar with loss and speed, and the epochs' numbers above it."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            """Says that it is one."""
            return True

    out = Terminal()
    reporter = progress_reporter(out)
    assert isinstance(reporter, ProgressBar)
    reporter.step(progress(1))
    reporter.step(progress(20, loss=None))
    reporter.metrics({"train_loss": 0.5}, step=20)
    reporter.close()

    shown = out.getvalue()
    assert "loss 0.5000" in shown
    assert "20/20" in shown
    assert "train_loss 0.5" in shown
