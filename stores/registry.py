"""Versions in the MLflow registry: one per execution, loadable without running stored code.

Saving a classifier needs torch; everything else needs `mlflow-skinny` alone, so that the task that
registers runs in the small image.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stores.agreed_run import EXECUTION_TAG
from stores.mlflow_api import quoted
from stores.run_files import mlflow_client
from stores.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from mlflow import MlflowClient

FOLDER_FLAVOR = "oppen_folder"
"""Flavor of a folder that another library loads: an adapter, a causal language model."""

_MODEL_FILE = "MLmodel"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A version in the registry, with what its run measured."""

    name: str
    """Name of the registered model."""

    version: str
    """Number of the version, as MLflow counts."""

    url: str
    """Its page."""

    run_id: str
    """The run that made it."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """Its tags."""

    aliases: tuple[str, ...] = ()
    """The aliases that point at it."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last metrics of its run."""


def save_classifier(model: "torch.nn.Module", folder: Path, *, example: "np.ndarray") -> None:
    """Saves a classifier as an exported program, which loads without running any stored code.

    Args:
        model: takes a batch of images and returns logits, (N, ...) to (N, K).
        folder: is made; it must not exist.
        example: a batch of at least 2 images, (N, ...); it fixes all dimensions but the first.

    Raises:
        ValueError: the example has less than 2 images: the export would fix the batch size.
    """
    import mlflow.pytorch
    import numpy as np
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    if len(example) < 2:
        raise ValueError(f"example holds {len(example)} images: give at least 2")
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        logits = model(torch.from_numpy(example)).float().numpy()
    signature = ModelSignature(
        inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]), "images")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *logits.shape[1:]), "logits")]),
    )
    mlflow.pytorch.save_model(
        model,
        str(folder),
        signature=signature,
        input_example=example,
        serialization_format="pt2",
        # Named outright: finding them out would load the model in another process for 5 s.
        pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"mlflow=={_version()}"],
    )
    model.train(was_training)


def register_version(
    settings: Settings,
    *,
    name: str,
    run_id: str,
    execution: str,
    folder: Path,
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Makes a folder a version of a registered model; an execution has one, however often tried.

    The folder may be one that `save_classifier` wrote, or any other: then it gets a description
    that says which library loads it, and `fetch_model` gives it back as it was.

    Args:
        settings: where MLflow is.
        name: name of the registered model, made when it does not exist.
        run_id: the run that made the model.
        execution: the same on every retry.
        folder: what to register; it is not changed.
        tags: of the version; written over earlier ones.

    Raises:
        ValueError: the folder is empty, or MLflow refuses the name.
        TrackingUnavailable: MLflow does not answer.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        raise ValueError(f"folder is {folder.name!r}, which is empty or missing: give a model")
    tags = {EXECUTION_TAG: execution, **(tags or {})}
    with mlflow_client(settings) as client:
        _ensure_model(client, name)
        found = _version_of(client, name, execution)
        if found is None:
            model_id = _logged_model(client, name, run_id, execution, folder)
            made = client.create_model_version(
                name,
                f"models:/{model_id}",
                run_id=run_id,
                tags=tags,
                model_id=model_id,
                await_creation_for=0,  # an SQL store makes it at once; waiting only logs
            )
            return _as_version(client, settings, made)
        for key, value in tags.items():
            if found.tags.get(key) != value:
                client.set_model_version_tag(name, found.version, key, value)
        return _as_version(client, settings, client.get_model_version(name, found.version))


def set_alias(settings: Settings, name: str, alias: str, version: str) -> None:
    """Points an alias at a version; it pointed elsewhere or nowhere before."""
    with mlflow_client(settings) as client:
        client.set_registered_model_alias(name, alias, version)


def champion(settings: Settings, name: str, alias: str = "champion") -> ModelVersion | None:
    """Returns the version an alias points at, with the metrics of its run, or None."""
    with mlflow_client(settings) as client:
        # A search can return versions without their aliases, so the alias itself is asked for.
        found = _or_none(lambda: client.get_model_version_by_alias(name, alias))
        return None if found is None else _as_version(client, settings, found)


def get_version(settings: Settings, name: str, version: str) -> ModelVersion:
    """Returns a version by its number.

    Raises:
        TrackingRefused: there is no such version.
    """
    with mlflow_client(settings) as client:
        return _as_version(client, settings, client.get_model_version(name, version))


def tag_version(settings: Settings, name: str, version: str, tags: Mapping[str, str]) -> None:
    """Writes tags of a version over earlier ones."""
    with mlflow_client(settings) as client:
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)


def fetch_model(settings: Settings, name: str, version: str, folder: Path) -> Path:
    """Downloads a version, by number or `@alias`, into `folder` and returns it.

    Raises:
        ValueError: the folder is there already and not empty.
        TrackingRefused: there is no such version.
    """
    from mlflow.artifacts import download_artifacts

    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder is {folder.name!r}, which is not empty: give a new one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    uri = settings.tracking_uri()
    with (
        mlflow_client(settings) as client,
        tempfile.TemporaryDirectory(dir=folder.parent) as temporary,
    ):
        if version.startswith("@"):
            version = client.get_model_version_by_alias(name, version[1:]).version
        source = str(client.get_model_version(name, version).source)
        if source.startswith("models:/"):
            # MLflow would look this up on the tracking server of the process, not on ours.
            source = client.get_logged_model(source.removeprefix("models:/")).artifact_location
        found = download_artifacts(source, dst_path=temporary, tracking_uri=uri, registry_uri=uri)
        if folder.exists():
            folder.rmdir()
        shutil.move(found, folder)
    return folder


def _ensure_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version_of(client: "MlflowClient", name: str, execution: str) -> Any:
    """Finds the version of an execution: the oldest, if there were ever two."""
    condition = f"name = {quoted(name)} and tags.`{EXECUTION_TAG}` = {quoted(execution)}"
    found = client.search_model_versions(condition)
    return min(found, key=lambda each: int(each.version), default=None)


def _logged_model(
    client: "MlflowClient", name: str, run_id: str, execution: str, folder: Path
) -> str:
    """Uploads the folder as the run's logged model and returns its identifier.

    One that a killed attempt left unfinished is removed; a finished one is used.
    """
    from mlflow.entities import LoggedModelOutput

    experiment_id = client.get_run(run_id).info.experiment_id
    earlier = client.search_logged_models([experiment_id], f"source_run_id = {quoted(run_id)}")
    for each in earlier:
        if each.tags.get(EXECUTION_TAG) != execution or each.name != name:
            continue
        if str(each.status) == "READY":
            return str(each.model_id)
        client.delete_logged_model(each.model_id)
    model = client.create_logged_model(
        experiment_id, name=name, source_run_id=run_id, tags={EXECUTION_TAG: execution}
    )
    with _described(folder, model.model_id, run_id, model.artifact_location) as described:
        client.log_model_artifacts(model.model_id, str(described))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


@contextmanager
def _described(folder: Path, model_id: str, run_id: str, location: str) -> Iterator[Path]:
    """Gives a copy of the folder whose MLmodel file names the logged model and its run."""
    import yaml

    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "model"
        shutil.copytree(folder, copy)
        path = copy / _MODEL_FILE
        described = yaml.safe_load(path.read_text()) if path.exists() else _folder_description()
        described |= {
            "model_id": model_id,
            "model_uuid": model_id,
            "run_id": run_id,
            "artifact_path": location,
        }
        path.write_text(yaml.safe_dump(described, sort_keys=True))
        yield copy


def _folder_description() -> dict[str, Any]:
    return {"flavors": {FOLDER_FLAVOR: {"loader": "the files' own library"}}}


def _as_version(client: "MlflowClient", settings: Settings, found: Any) -> ModelVersion:
    run = _or_none(lambda: client.get_run(found.run_id)) if found.run_id else None
    return ModelVersion(
        name=found.name,
        version=str(found.version),
        url=f"{settings.tracking_uri()}/#/models/{found.name}/versions/{found.version}",
        run_id=found.run_id or "",
        tags=dict(found.tags),
        aliases=tuple(found.aliases),
        metrics=dict(run.data.metrics) if run else {},
    )


def _or_none(ask: Any) -> Any:
    """Asks MLflow, and returns None for what does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise


def _version() -> str:
    import mlflow

    return str(mlflow.__version__)
