"""The gate of the image pipelines."""

from dataclasses import asdict

from flytekit import task

from accounting.speed import Work
from tasks.machines import GPU_PAIR, LIGHT, SMALL_GPU
from tasks.opening import Planned, open_run
from tasks.records import PreparedImages, Run, Terms
from training.classifier_config import ClassifierConfig, training_flop_per_image

STARTUP_SECONDS = 5.0
"""Imports and data before the first step."""


@task(enable_deck=True, **LIGHT.options())
def open_image_run(
    images: PreparedImages,
    config: ClassifierConfig,
    dataset: str,
    model_name: str,
    experiment: str,
    terms: Terms,
    min_accuracy: float,
    nodes: int = 1,
    processes: int = 1,
) -> Run:
    """Prices the planned training and stops here if it does not fit; opens the MLflow run."""
    if not 0 <= min_accuracy <= 1:
        raise ValueError(f"min_accuracy is {min_accuracy}; give a fraction from 0 to 1, as 0.98")
    epochs = config.epochs_for(images.num_train)
    batch_size = config.batch_size_for(images.num_train)
    shape = f"{images.height}x{images.width}"
    return open_run(
        Planned(
            kind=f"image-cnn/{shape}/batch-{batch_size}",
            work=Work(
                items=epochs * images.num_train,
                flop_per_item=training_flop_per_image(images.height, images.width),
                startup_seconds=STARTUP_SECONDS,
            ),
            speed_metric="images_per_second",
            machine=GPU_PAIR if processes > 1 else SMALL_GPU,
            nodes=nodes,
            processes=processes,
        ),
        terms,
        model_name=model_name,
        experiment=experiment,
        tags={"oppen.dataset": images.digest, "oppen.kind": "image-cnn"},
        params={
            **asdict(config),
            "epochs": epochs,
            "batch_size": batch_size,
            "dataset": dataset,
            "nodes": nodes,
        },
    )
