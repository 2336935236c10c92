"""Files of an MLflow run, through MLflow's own client, which knows every kind of artifact store."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stores.mlflow_api import MlflowApi, TrackingRefused, TrackingUnavailable
from stores.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MAY_PASS = {"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"}


def log_artifacts(settings: Settings, run_id: str, path: Path, folder: str) -> None:
    """Uploads a file, or the files of a folder, into `folder` of a run; again is the same.

    Raises:
        ValueError: there is nothing at `path`.
        TrackingUnavailable: MLflow does not answer.
    """
    if not path.exists():
        raise ValueError(f"path is {path.name!r}, which does not exist: give a file or a folder")
    with mlflow_client(settings) as client:
        if path.is_dir():
            client.log_artifacts(run_id, str(path), folder)
        else:
            client.log_artifact(run_id, str(path), folder)


def fetch_artifacts(settings: Settings, run_id: str, folder: str, target: Path) -> Path:
    """Downloads `folder` of a run into `target` and returns `target`.

    Raises:
        ValueError: the run has no such folder.
        TrackingUnavailable: MLflow does not answer.
    """
    target.mkdir(parents=True, exist_ok=True)
    with mlflow_client(settings) as client, tempfile.TemporaryDirectory(dir=target) as temporary:
        if not client.list_artifacts(run_id, folder):
            raise ValueError(f"run {run_id} has no files under {folder!r}")
        found = Path(client.download_artifacts(run_id, folder, temporary))
        for each in found.iterdir():
            shutil.move(each, target / each.name)
    return target


@contextmanager
def mlflow_client(settings: Settings) -> Iterator["MlflowClient"]:
    """Gives MLflow's client once the server answers, and turns its errors into ours.

    The first question goes through `MlflowApi`, which gives up after half a minute; MLflow's client
    alone waits for four.
    """
    import requests
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with MlflowApi(settings) as api:
        api.post("experiments/search", max_results=1)
    uri = settings.tracking_uri()
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    except MlflowException as error:
        if error.error_code in _MAY_PASS:
            raise TrackingUnavailable(f"MLflow at {uri} failed: {_one_line(error)}") from error
        raise TrackingRefused(
            f"MLflow refuses: {_one_line(error)}", code=str(error.error_code)
        ) from error
    except requests.RequestException as error:
        raise TrackingUnavailable(f"MLflow at {uri} failed: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
