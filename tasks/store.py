"""Upload to S3, verified: files first, manifest last, read back and compared."""

from pathlib import Path

from flytekit import task

from stores.artifacts import store_version
from stores.settings import Settings
from tasks.machines import LIGHT
from tasks.records import Evaluated, Registered, Run, Stored
from tasks.retrying import retried_by_flyte


@task(**LIGHT.options())
def store_model(
    run: Run,  # noqa: ARG001 - the run orders the tasks
    evaluated: Evaluated,
    registered: Registered,
    prefix: str = "",
) -> Stored:
    """Uploads the package under `prefix`, by default `<model>/<version>`; once, however often."""
    with retried_by_flyte():
        stored = store_version(
            Settings.from_environment(),
            prefix or f"{registered.name}/{registered.version}",
            Path(evaluated.package.download()),
        )
    return Stored(
        uri=stored.uri,
        manifest_sha256=stored.manifest_sha256,
        num_files=stored.num_files,
        num_bytes=stored.num_bytes,
    )
