"""Figures of a training run as HTML fragments: inline SVG, offline, far below 300 KB each.

Colours are those of Okabe and Ito, which people with colour-blindness tell apart.
"""

import io
import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from training.evaluation import Evaluation
from training.training_result import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
MAX_CURVE_POINTS = 400
MISTAKES_PER_ROW = 8


def training_curves(history: Sequence[EpochRecord]) -> str:
    """Draws loss, accuracy, learning rate and speed by epoch.

    Raises:
        ValueError: No epoch was finished.
    """
    if not history:
        raise ValueError("history has 0 epochs; a run stopped before its first has no curves")
    figure, axes = _figure(rows=2, columns=2, width=8.0, height=5.0)
    _lines(axes[0], history, ["train_loss", "test_loss"], "loss")
    _lines(axes[1], history, ["train_accuracy", "test_accuracy"], "accuracy")
    _lines(axes[2], history, ["learning_rate"], "learning rate of the last step")
    _lines(axes[3], history, ["images_per_second"], "images per second")
    last = history[-1]
    caption = f"After epoch {last.epoch}: training loss {last.train_loss:.4f}"
    if last.test_accuracy is not None:
        caption += f", held-out accuracy {last.test_accuracy:.2%}"
    caption += ". Training numbers are taken on shifted pictures and with dropout."
    return _fragment("Training curves", _svg(figure, "curves"), caption)


def confusion_matrix(evaluation: Evaluation) -> str:
    """Draws what the held-out pictures are against what they were taken for."""
    counts = np.array(evaluation.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [scores.name for scores in evaluation.classes]
    size = min(3.0 + 0.42 * len(names), 12.0)
    figure, (axis,) = _figure(rows=1, columns=1, width=size, height=size)
    # The square root lets the few mistakes be seen beside the many right answers.
    axis.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(names)), names, rotation=45 if max(map(len, names)) > 2 else 0)
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("taken for")
    axis.set_ylabel("is")
    if len(names) <= 30:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.4 else "black"
                axis.text(
                    column, row, str(count), ha="center", va="center", fontsize=7, color=colour
                )
    caption = f"{evaluation.count:,} held-out pictures, accuracy {evaluation.accuracy:.2%}."
    return _fragment("Confusion matrix", _svg(figure, "confusion"), caption)


def worst_mistakes(evaluation: Evaluation, images: Tensor) -> str:
    """Draws the mistakes the model was surest of; `images` is (N, H, W) uint8, as evaluated."""
    mistakes = evaluation.worst_mistakes
    if not mistakes:
        return _fragment("Worst mistakes", "", "None: every held-out picture is right.")
    names = [scores.name for scores in evaluation.classes]
    rows = math.ceil(len(mistakes) / MISTAKES_PER_ROW)
    figure, axes = _figure(rows=rows, columns=MISTAKES_PER_ROW, width=9.0, height=1.45 * rows)
    for axis in axes:
        axis.set_axis_off()
    for axis, mistake in zip(axes, mistakes, strict=False):
        axis.imshow(images[mistake.index].cpu().numpy(), cmap="gray_r", vmin=0, vmax=255)
        answer = f"{names[mistake.label]}, not {names[mistake.predicted]}"
        axis.set_title(f"{answer}\n{mistake.confidence:.1%} sure", fontsize=6.5)
    wrong = evaluation.count - round(evaluation.accuracy * evaluation.count)
    caption = (
        f"The {len(mistakes)} surest of {wrong} mistakes: what it is, not what it was taken for."
    )
    return _fragment("Worst mistakes", _svg(figure, "mistakes"), caption)


def evaluation_table(evaluation: Evaluation) -> str:
    """Writes the scores, over all and by class, as a table."""
    rows = "".join(
        f"<tr><td>{escape(c.name)}</td><td>{c.support:,}</td>"
        f"<td>{_percent(c.precision)}</td><td>{_percent(c.recall)}</td></tr>"
        for c in evaluation.classes
    )
    table = (
        '<table style="border-spacing:1.2em 0.2em;text-align:right">'
        "<tr><th>class</th><th>pictures</th><th>precision</th><th>recall</th></tr>"
        f"{rows}</table>"
    )
    caption = (
        f"Accuracy {evaluation.accuracy:.2%}, loss {evaluation.loss:.4f}, "
        f"expected calibration error {evaluation.calibration_error:.4f} "
        f"on {evaluation.count:,} held-out pictures."
    )
    return _fragment("Evaluation", table, caption)


def _lines(axis: "Axes", history: Sequence[EpochRecord], names: list[str], title: str) -> None:
    """Draws one line for each name, thinned out where there are very many epochs."""
    from matplotlib.ticker import MaxNLocator

    stride = math.ceil(len(history) / MAX_CURVE_POINTS)
    shown = [*history[:-1:stride], history[-1]]
    for name, colour in zip(names, (BLUE, ORANGE), strict=False):
        points = [(r.epoch, getattr(r, name)) for r in shown if getattr(r, name) is not None]
        if points:
            epochs, values = zip(*points, strict=True)
            marker = "o" if len(points) < 25 else None
            axis.plot(
                epochs, values, color=colour, marker=marker, markersize=3,
                label=name.split("_")[0],
            )  # fmt: skip
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("epoch", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(visible=True, color="#dddddd", linewidth=0.6)
    if len(names) > 1:
        axis.legend(fontsize=8, frameon=False)


def _figure(
    *, rows: int, columns: int, width: float, height: float
) -> tuple["Figure", list["Axes"]]:
    """Makes a figure without pyplot, which would keep it and choose a backend for the process."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.tick_params(labelsize=8, colors=GREY)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, list(axes.flat)


def _svg(figure: "Figure", name: str) -> str:
    """Renders a figure; the same one gives the same bytes, and ids do not meet on one page."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context(
        {"svg.hashsalt": name, "svg.fonttype": "none", "image.composite_image": False}
    ):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _fragment(title: str, body: str, caption: str) -> str:
    return (
        f'<figure style="margin:1em 0;font-family:sans-serif">'
        f'<figcaption style="margin-bottom:0.5em"><b>{escape(title)}</b><br>{escape(caption)}'
        f"</figcaption>{body}</figure>\n"
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"  # noqa: RUF001 - a dash for what is not known
