# ruff: noqa: INP001 - mounted into a pod as a single file
"""Copies MLflow's database to S3, verifies the copy, and only then deletes old ones.

`backup.py sqlite:///data/mlflow.db` takes an online copy (the server may go on writing) and checks
its integrity; `backup.py FILE` uploads a dump that was made before. `backup.py --restore NAME FILE`
brings a copy back, verified.
"""

import argparse
import gzip
import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from minio import Minio

CHUNK = 1 << 20


def client(endpoint: str) -> Minio:
    """Opens an S3 endpoint given as http(s)://host[:port], with the login of the environment."""
    url = urlsplit(endpoint)
    return Minio(
        endpoint=url.netloc,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=url.scheme == "https",
        region=os.environ.get("AWS_DEFAULT_REGION"),
    )


def copy_sqlite(source: Path, target: Path) -> None:
    """Takes a consistent copy of a database that others may be writing."""
    if not source.is_file():
        raise SystemExit(f"no database at {source}: has the server ever started on this volume?")
    reading = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)
    writing = sqlite3.connect(target)
    try:
        reading.backup(writing, pages=1000, sleep=0.01)
        verdict = writing.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        reading.close()
        writing.close()
    if verdict != "ok":
        raise SystemExit(f"the copy of {source} is damaged: {verdict}")


def compress(source: Path, target: Path) -> None:
    """Compresses without a time stamp, so that equal databases give equal copies."""
    with (
        source.open("rb") as plain,
        target.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, packed, CHUNK)


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_object(s3: Minio, bucket: str, name: str) -> str:
    """SHA-256 of an object as the server gives it back."""
    answer = s3.get_object(bucket_name=bucket, object_name=name)
    try:
        seen = hashlib.sha256()
        for chunk in answer.stream(CHUNK):
            seen.update(chunk)
    finally:
        answer.close()
        answer.release_conn()
    return seen.hexdigest()


def upload(s3: Minio, *, bucket: str, name: str, path: Path) -> str:
    """Uploads a file, reads it back and compares; the name then ends with its SHA-256."""
    expected = digest_of_file(path)
    full = f"{name}.{expected[:16]}.gz"
    s3.fput_object(bucket_name=bucket, object_name=full, file_path=str(path))
    if digest_of_object(s3, bucket, full) != expected:
        s3.remove_object(bucket_name=bucket, object_name=full)
        raise SystemExit(f"{full} read back differs from what was sent: nothing old was deleted")
    return full


def copies(s3: Minio, *, bucket: str, prefix: str) -> list[str]:
    """Names of all copies, oldest first: they begin with their time."""
    listed = s3.list_objects(bucket_name=bucket, prefix=f"{prefix}/", recursive=True)
    return sorted(item.object_name for item in listed if item.object_name)


def prune(s3: Minio, *, bucket: str, prefix: str, keep: int) -> list[str]:
    """Deletes all but the newest copies and returns the names of what went."""
    old = copies(s3, bucket=bucket, prefix=prefix)[:-keep]
    for name in old:
        s3.remove_object(bucket_name=bucket, object_name=name)
    return old


def restore(s3: Minio, *, bucket: str, name: str, target: Path) -> None:
    """Fetches a copy, checks the SHA-256 in its name, and unpacks it to a new file."""
    if target.exists():
        raise SystemExit(f"{target} exists: move it away first, a restore replaces nothing")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        packed = Path(folder) / "copy.gz"
        plain = Path(folder) / "copy"
        s3.fget_object(bucket_name=bucket, object_name=name, file_path=str(packed))
        if digest_of_file(packed)[:16] != name.split(".")[-2]:
            raise SystemExit(f"{name} does not have the SHA-256 of its name: take another copy")
        with gzip.open(packed, "rb") as source, plain.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
        plain.rename(target)


def main(arguments: list[str]) -> int:
    """Backs up, or restores with --restore."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "source", help="sqlite:///PATH, a dump to upload, or the file to restore to"
    )
    parser.add_argument("--bucket", default=os.environ.get("OPPEN_S3_BUCKET", "oppen"))
    parser.add_argument("--prefix", default="backups/mlflow")
    parser.add_argument("--keep", type=int, default=14)
    parser.add_argument("--restore", metavar="NAME", help="a copy to bring back; 'newest' takes it")
    options = parser.parse_args(arguments)
    if options.keep < 1:
        parser.error(f"--keep: {options.keep} would delete the copy just made: use 1 or more")
    s3 = client(os.environ["OPPEN_S3_ENDPOINT"])
    where = {"bucket": options.bucket, "prefix": options.prefix}

    if options.restore:
        known = copies(s3, **where)
        name = known[-1] if known and options.restore == "newest" else options.restore
        restore(s3, bucket=options.bucket, name=name, target=Path(options.source))
        print(f"restored {name} to {options.source}")
        return 0

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(options.source)
        if options.source.startswith("sqlite:///"):
            plain = Path(folder) / "mlflow.db"
            copy_sqlite(Path("/" + options.source.removeprefix("sqlite:///").lstrip("/")), plain)
        packed = Path(folder) / "copy.gz"
        compress(plain, packed)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{options.prefix}/{stamp}{plain.suffix}"
        full = upload(s3, bucket=options.bucket, name=name, path=packed)
        print(f"saved {full}: {packed.stat().st_size} bytes, read back and compared")
    for gone in prune(s3, **where, keep=options.keep):
        print(f"deleted {gone}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
