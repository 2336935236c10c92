"""Small image data and runs for the tests of the loop."""

from collections.abc import Mapping
from pathlib import Path

import torch

from training.image_data import ImageData, ImageManifest, ImageSplit
from training.reporter import Progress

SIDE = 12


def small_data(*, train: int = 103, test: int = 40, classes: int = 3) -> ImageData:
    """Returns pictures with a bright bar whose place tells the class, in a little noise."""
    generator = torch.Generator().manual_seed(7)

    def split(count: int) -> ImageSplit:
        labels = torch.arange(count) % classes
        images = torch.randint(0, 60, (count, SIDE, SIDE), generator=generator)
        for image, label in zip(images, labels, strict=True):
            image[2 + 3 * int(label) : 4 + 3 * int(label), 2:-2] += 150
        return ImageSplit(images=images.to(torch.uint8), labels=labels)

    return ImageData(
        manifest=ImageManifest(
            source="bars",
            licence="none",
            classes=tuple("abcdefgh"[:classes]),
            train_count=train,
            test_count=test,
            train_class_counts=(0,) * classes,
            test_class_counts=(0,) * classes,
            height=SIDE,
            width=SIDE,
            mean=0.2,
            std=0.2,
            sha256="bars",
        ),
        train=split(train),
        test=split(test),
    )


class Notebook:
    """A Reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[Progress] = []
        self.records: list[tuple[int, Mapping[str, float]]] = []
        self.closed = 0

    def step(self, progress: Progress) -> None:
        """Keeps the step."""
        self.steps.append(progress)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Keeps the values."""
        self.records.append((step, values))

    def keep(self) -> None:
        """Has nothing to keep."""

    def close(self) -> None:
        """Counts how often it is closed."""
        self.closed += 1


class StopAt:
    """A Guard that stops a run before one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def stop_reason(self, *, step: int, total_steps: int) -> str | None:
        """Says stop at the step, and never later than the end."""
        assert step < total_steps
        return "enough" if step >= self.step else None


def checkpoints_in(folder: Path) -> list[int]:
    """Lists the steps of the checkpoints in a folder."""
    return sorted(int(path.name.split("-")[1]) for path in folder.glob("step-*"))
