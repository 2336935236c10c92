"""Tasks that are tried again, a store that goes away, and a second model that is worse."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flytekit.exceptions.user import FlyteRecoverableException

from operations.servers import Servers
from stores import artifacts, objects
from stores.settings import Settings
from tasks.promote import promote_model
from tasks.records import Registered, Stored
from tasks.register import register_model
from tasks.store import store_model
from tests.e2e.chain import Chain, billed, short
from tests.e2e.runs import aliases_of, artifacts_of, objects_of, runs_of, versions_of

MODEL = "digits-retried"


@pytest.fixture(scope="module")
def chain(here: pytest.MonkeyPatch, digits: Path) -> Chain:
    """A good model, trained and billed, but not yet registered."""
    here.setenv("OPPEN_EXECUTION_ID", "e2e-retried")
    return billed(digits, short(epochs=8), name=MODEL)


@pytest.fixture(scope="module")
def registered(chain: Chain) -> Registered:
    """Its version."""
    return register_model(
        run=chain.run, trained=chain.trained, evaluated=chain.evaluated, priced=chain.priced
    )


@pytest.fixture(scope="module")
def stored(chain: Chain, registered: Registered) -> Stored:
    """Its upload."""
    return store_model(run=chain.run, evaluated=chain.evaluated, registered=registered)


@pytest.mark.slow
def test_registering_again_changes_nothing(
    chain: Chain, registered: Registered, settings: Settings
) -> None:
    """A retry of the register task finds the run, the version and the files it left."""
    files = artifacts_of(settings, chain.run.tracking_run, "report")
    again = register_model(
        run=chain.run, trained=chain.trained, evaluated=chain.evaluated, priced=chain.priced
    )
    assert again == registered
    assert len(runs_of(settings, MODEL)) == len(versions_of(settings, MODEL)) == 1
    assert artifacts_of(settings, chain.run.tracking_run, "report") == files


@pytest.mark.slow
def test_storing_again_changes_nothing(
    chain: Chain, registered: Registered, stored: Stored, settings: Settings
) -> None:
    """A retry of the store task leaves the same objects under the same manifest."""
    names = objects_of(settings, MODEL)
    again = store_model(run=chain.run, evaluated=chain.evaluated, registered=registered)
    assert again == stored
    assert objects_of(settings, MODEL) == names


@pytest.mark.slow
def test_an_upload_that_breaks_off_is_invisible_and_completed_by_a_retry(
    chain: Chain, settings: Settings, s3_server: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 stops after the first file: Flyte may retry, no version is seen, the retry ends it."""
    version = Registered(name="digits-interrupted", version="1", url="")
    with monkeypatch.context() as patch:
        patch.setattr(objects.Objects, "upload", stopping_after_one(s3_server))
        patch.setattr("urllib3.util.retry.time.sleep", lambda _seconds: None)  # be impatient
        with pytest.raises(FlyteRecoverableException, match="does not answer"):
            store_model(run=chain.run, evaluated=chain.evaluated, registered=version)
    s3_server.start("s3")

    assert len(objects_of(settings, version.name)) == 1
    assert artifacts.list_versions(settings, version.name) == []
    with pytest.raises(artifacts.CorruptVersion, match="its upload did not end"):
        artifacts.verify_version(settings, f"{version.name}/1")

    stored = store_model(run=chain.run, evaluated=chain.evaluated, registered=version)
    assert artifacts.verify_version(settings, stored.uri).manifest_sha256 == stored.manifest_sha256
    assert artifacts.list_versions(settings, version.name) == ["1"]


def stopping_after_one(server: Servers) -> Callable[[objects.Objects, str, Path], None]:
    """An upload that works once and then finds the server stopped."""
    upload, done = objects.Objects.upload, []

    def upload_then_stop(self: objects.Objects, name: str, path: Path) -> None:
        if len(done) == 1:
            server.stop("s3")
        done.append(name)
        upload(self, name, path)

    return upload_then_stop


@pytest.mark.slow
def test_a_worse_model_is_a_challenger_only(
    chain: Chain,
    registered: Registered,
    stored: Stored,
    settings: Settings,
    here: pytest.MonkeyPatch,
    digits: Path,
) -> None:
    """The champion stays; the worse one becomes version 2, and its decision says why."""
    first = promote_model(
        run=chain.run,
        trained=chain.trained,
        evaluated=chain.evaluated,
        priced=chain.priced,
        registered=registered,
        stored=stored,
        reload_difference=0.0,
    ).summary
    assert first.alias == "challenger+champion"

    here.setenv("OPPEN_EXECUTION_ID", "e2e-worse")
    worse = billed(digits, short(epochs=1), name=MODEL)
    assert worse.evaluated.quality < chain.evaluated.quality
    version = register_model(
        run=worse.run, trained=worse.trained, evaluated=worse.evaluated, priced=worse.priced
    )
    second = promote_model(
        run=worse.run,
        trained=worse.trained,
        evaluated=worse.evaluated,
        priced=worse.priced,
        registered=version,
        stored=stored,
        reload_difference=0.0,
    ).summary

    assert second.alias == "challenger"
    assert f"below the champion's {chain.evaluated.quality:.2%}" in second.decision
    assert aliases_of(settings, MODEL) == {"challenger": "2", "champion": "1"}
