"""Settings: read late, named when missing, secret in print."""

import pickle
from pathlib import Path

import pytest

from stores.settings import Settings, SettingsError

FULL = {
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000/",
    "OPPEN_S3_ENDPOINT": "https://s3.example.org",
    "OPPEN_S3_BUCKET": "models",
    "AWS_ACCESS_KEY_ID": "AKIATEST",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t",
    "AWS_REGION": "eu-west-1",
    "OPPEN_RATES": "rates.yaml",
}


def test_the_environment_goes_through_settings_and_back() -> None:
    """Every variable is read, and `to_environment` gives them all again."""
    settings = Settings.from_environment(FULL)
    store = settings.object_store()

    assert settings.to_environment() == FULL
    assert settings.rates_path == Path("rates.yaml")
    assert settings.tracking_uri() == "http://127.0.0.1:5000"
    assert (store.host, store.secure, store.bucket) == ("s3.example.org", True, "models")
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own bytes


def test_secrets_do_not_show() -> None:
    """Neither settings nor what is made of them print a key."""
    settings = Settings.from_environment(FULL)
    for shown in (repr(settings), str(settings), f"{settings.object_store()}"):
        assert "AKIATEST" not in shown
        assert "s3cr3t" not in shown
    assert "aws_secret_access_key=***" in repr(settings)


def test_nothing_is_needed_until_it_is_used() -> None:
    """Empty settings can be made; each use names the first variable that is missing."""
    settings = Settings.from_environment({"OPPEN_S3_BUCKET": "", "AWS_ACCESS_KEY_ID": ""})
    assert settings == Settings()
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_URI is not set"):
        settings.tracking_uri()
    for missing in ("OPPEN_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        partial = Settings.from_environment({k: v for k, v in FULL.items() if k != missing})
        with pytest.raises(SettingsError, match=f"{missing} is not set"):
            partial.object_store()


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8333", "ftp://host", "http://", "http://host:port", "file:///x"]
)
def test_a_malformed_address_is_refused(address: str) -> None:
    """What is not an http address is an error that names the variable."""
    settings = Settings.from_environment(
        FULL | {"OPPEN_S3_ENDPOINT": address, "MLFLOW_TRACKING_URI": address}
    )
    with pytest.raises(SettingsError, match="OPPEN_S3_ENDPOINT is not an http"):
        settings.object_store()
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_URI is not an http"):
        settings.tracking_uri()


def test_credentials_in_an_address_are_refused_unshown() -> None:
    """An address is printed in errors, so it must not hold a password."""
    settings = Settings(mlflow_tracking_uri="http://user:s3cr3t@host")
    with pytest.raises(SettingsError, match="holds credentials") as refused:
        settings.tracking_uri()
    assert "s3cr3t" not in str(refused.value)
