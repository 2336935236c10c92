"""Addresses of data: what only the stores can fetch is fetched here."""

from pathlib import Path

from stores.artifacts import fetch_prefix
from stores.settings import Settings


def local_copy(address: str, folder: Path) -> str:
    """Fetches an `s3://bucket/prefix` into `folder`; anything else passes through unchanged.

    Raises:
        ValueError: the S3 settings are missing, or nothing lies under the prefix.
    """
    if not address.startswith("s3://"):
        return address

    fetch_prefix(Settings.from_environment(), address, folder)
    return str(folder)
