"""The tasks of the MNIST pipeline one by one, for tests that break in between them."""

from dataclasses import dataclass, replace
from pathlib import Path

from tasks.evaluate_image import evaluate_classifier
from tasks.images import locate_images, prepare_images
from tasks.open_image_run import open_image_run
from tasks.price import price_run
from tasks.records import Evaluated, PreparedImages, Priced, Run, Terms, Trained
from tasks.train_image import train_classifier
from training.classifier_config import ClassifierConfig


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A run up to its bill."""

    images: PreparedImages
    run: Run
    trained: Trained
    evaluated: Evaluated
    priced: Priced


def opened(
    dataset: Path, config: ClassifierConfig, *, name: str, checkpoint_seconds: float = 60.0
) -> tuple[PreparedImages, Run]:
    """Prepares the digits and opens a run; model and experiment are both called `name`."""
    images = prepare_images(source=locate_images(dataset=str(dataset)))
    run = open_image_run(
        images=images,
        config=config,
        dataset=dataset.name,
        model_name=name,
        experiment=name,
        terms=Terms(checkpoint_seconds=checkpoint_seconds),
        min_accuracy=0.0,
    )
    return images, run


def billed(
    dataset: Path, config: ClassifierConfig, *, name: str, min_accuracy: float = 0.0
) -> Chain:
    """Opens, trains, evaluates and bills a run."""
    images, run = opened(dataset, config, name=name)
    trained = train_classifier(run=run, images=images, config=config)
    evaluated = evaluate_classifier(
        run=run, images=images, trained=trained, min_accuracy=min_accuracy
    )
    return Chain(
        images=images,
        run=run,
        trained=trained,
        evaluated=evaluated,
        priced=price_run(run=run, trained=trained),
    )


def short(config: ClassifierConfig | None = None, *, epochs: int) -> ClassifierConfig:
    """A training of a second: small batches, scored once."""
    config = config or ClassifierConfig(batch_size=32, evaluate_epochs=False)
    return replace(config, epochs=epochs)
