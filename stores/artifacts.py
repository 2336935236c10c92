"""Model versions in S3: files first, then a manifest of sizes and SHA-256, read back and compared.

A version without its manifest does not exist for readers, so that an upload that is killed leaves
nothing that looks complete. The same call again uploads only what is missing or differs.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from stores.objects import UNREADABLE, Objects, StoreRefused, StoreUnavailable, open_objects
from stores.settings import Settings

__all__ = [
    "CorruptVersion",
    "Entry",
    "StoreRefused",
    "StoreUnavailable",
    "StoredVersion",
    "fetch_prefix",
    "fetch_version",
    "list_versions",
    "store_version",
    "verify_version",
]

MANIFEST = "manifest.json"
_FORMAT = 1
_UPLOADS = 3  # of a file, before a store that keeps changing bytes is given up


class CorruptVersion(ValueError):  # noqa: N818 - reads as the state it reports
    """What lies in S3 is not what its manifest says, or has no manifest."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a version."""

    path: str
    """Path below the version, with forward slashes."""

    size: int
    """Bytes."""

    sha256: str
    """Hex digest of the content."""


@dataclass(frozen=True, kw_only=True)
class StoredVersion:
    """A version whose every byte was read back and compared."""

    uri: str
    """`s3://bucket/<model>/<version>`."""

    manifest_sha256: str
    """Digest of the manifest: it stands for the whole version."""

    files: tuple[Entry, ...]
    """What it holds."""

    num_uploaded: int = 0
    """Files that this call had to upload; 0 when all was there."""

    @property
    def num_files(self) -> int:
        """Files, without the manifest."""
        return len(self.files)

    @property
    def num_bytes(self) -> int:
        """Bytes of all files, without the manifest."""
        return sum(entry.size for entry in self.files)


def store_version(settings: Settings, prefix: str, folder: Path) -> StoredVersion:
    """Uploads a folder as a version, reads all of it back, and only then writes the manifest.

    A second call changes nothing; a call after a kill or a corruption completes or repairs. A
    folder that differs from what is stored replaces it, and its manifest goes first.

    Args:
        settings: where S3 is.
        prefix: `<model>/<version>`.
        folder: what to store, with its subfolders.

    Raises:
        ValueError: the folder is empty or the prefix malformed.
        StoreUnavailable: S3 does not answer.
        CorruptVersion: S3 keeps giving back other bytes than were sent.
    """
    prefix = _checked_prefix(prefix)
    files = describe(folder)
    manifest = _manifest_text(files)
    name = f"{prefix}/{MANIFEST}"
    with open_objects(settings) as objects:
        objects.ensure_bucket()
        wrong = [entry for entry in files if _differs(objects, prefix, entry)]
        num_uploaded = len(wrong)
        if wrong:
            objects.remove(name)
        for _ in range(_UPLOADS):
            for entry in wrong:
                objects.upload(f"{prefix}/{entry.path}", folder / entry.path)
            wrong = [entry for entry in wrong if _differs(objects, prefix, entry)]
        if not wrong and objects.read(name) != manifest:
            objects.write(name, manifest)
        if wrong or objects.read(name) != manifest:
            raise CorruptVersion(
                f"s3://{objects.bucket}/{prefix} gives back other bytes than were sent: "
                "check the disk of the S3 server"
            )
        for stray in set(objects.names(f"{prefix}/")) - {f"{prefix}/{e.path}" for e in files}:
            if stray != name:
                objects.remove(stray)
        return _stored(objects, prefix, manifest, files, num_uploaded)


def verify_version(settings: Settings, address: str) -> StoredVersion:
    """Reads every byte of a version and compares it with its manifest.

    Args:
        settings: where S3 is.
        address: `s3://bucket/<model>/<version>`, or `<model>/<version>` in the usual bucket.

    Raises:
        CorruptVersion: no manifest, or a file that is missing or differs; the first is named.
    """
    bucket, prefix = _split(address)
    with open_objects(settings, bucket) as objects:
        manifest, files = _read_manifest(objects, prefix)
        for entry in files:
            if _differs(objects, prefix, entry):
                raise _corrupt(objects, prefix, entry)
        return _stored(objects, prefix, manifest, files)


def fetch_version(settings: Settings, address: str, folder: Path) -> StoredVersion:
    """Downloads a version into `folder`, comparing each file with the manifest on the way.

    The folder appears complete or not at all.

    Raises:
        ValueError: the folder is there already and not empty.
        CorruptVersion: no manifest, or a file that is missing or differs.
    """
    bucket, prefix = _split(address)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder is {folder.name!r}, which is not empty: give a new one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        with open_objects(settings, bucket) as objects:
            manifest, files = _read_manifest(objects, prefix)
            for entry in files:
                _download(objects, prefix, entry, temporary / entry.path)
            stored = _stored(objects, prefix, manifest, files)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return stored


def fetch_prefix(settings: Settings, address: str, folder: Path) -> int:
    """Downloads all objects under an `s3://bucket/prefix` and returns how many there were.

    Raises:
        ValueError: nothing lies there, or a name would leave the folder.
    """
    bucket, prefix = _split(address)
    with open_objects(settings, bucket) as objects:
        names = objects.names(f"{prefix}/")
        if not names:
            raise ValueError(f"{address} holds nothing: check the bucket and the prefix")
        for name in names:
            target = folder / _safe_relative(name.removeprefix(f"{prefix}/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                if objects.digest(name, file) in {None, UNREADABLE}:
                    raise CorruptVersion(f"s3://{objects.bucket}/{name} cannot be read")
    return len(names)


def list_versions(settings: Settings, model: str) -> list[str]:
    """Returns the versions of a model that have a manifest, sorted by name."""
    model = _checked_prefix(model)
    with open_objects(settings) as objects:
        names = objects.names(f"{model}/")
    found = [PurePosixPath(name).relative_to(model) for name in names]
    return sorted(path.parts[0] for path in found if path.parts[1:] == (MANIFEST,))


def describe(folder: Path) -> tuple[Entry, ...]:
    """Lists the files of a folder with size and digest, by path.

    Raises:
        ValueError: there are none, or one has the name of the manifest.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise ValueError(f"folder is {folder.name!r}, which holds no files: give one that does")
    entries = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            raise ValueError(f"folder {folder.name!r} holds a {MANIFEST}: that name is taken")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        entries.append(Entry(path=name, size=path.stat().st_size, sha256=digest))
    return tuple(entries)


def _stored(
    objects: Objects, prefix: str, manifest: bytes, files: tuple[Entry, ...], num_uploaded: int = 0
) -> StoredVersion:
    return StoredVersion(
        uri=f"s3://{objects.bucket}/{prefix}",
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        files=files,
        num_uploaded=num_uploaded,
    )


def _manifest_text(files: Sequence[Entry]) -> bytes:
    content = {"format": _FORMAT, "files": [asdict(entry) for entry in files]}
    return (json.dumps(content, indent=1) + "\n").encode()


def _read_manifest(objects: Objects, prefix: str) -> tuple[bytes, tuple[Entry, ...]]:
    where = f"s3://{objects.bucket}/{prefix}"
    text = objects.read(f"{prefix}/{MANIFEST}")
    if text is None:
        raise CorruptVersion(f"{where} has no {MANIFEST}: its upload did not end, store it again")
    try:
        files = tuple(Entry(**file) for file in json.loads(text)["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptVersion(f"{where}/{MANIFEST} is unreadable: store it again") from error
    for entry in files:
        _safe_relative(entry.path)
    return text, files


def _differs(objects: Objects, prefix: str, entry: Entry) -> bool:
    """Reads an object to its end and tells whether it is not what the entry says."""
    name = f"{prefix}/{entry.path}"
    return objects.size(name) != entry.size or objects.digest(name) != entry.sha256


def _download(objects: Objects, prefix: str, entry: Entry, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        if objects.digest(f"{prefix}/{entry.path}", file) != entry.sha256:
            raise _corrupt(objects, prefix, entry)


def _corrupt(objects: Objects, prefix: str, entry: Entry) -> CorruptVersion:
    return CorruptVersion(
        f"s3://{objects.bucket}/{prefix}/{entry.path} is missing or differs from the manifest: "
        "store the version again"
    )


def _split(address: str) -> tuple[str | None, str]:
    """Splits `s3://bucket/prefix`; a bare prefix lies in the usual bucket."""
    if not address.startswith("s3://"):
        return None, _checked_prefix(address)
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if not bucket:
        raise ValueError(f"address is {address!r}: write it like s3://bucket/model/version")
    return bucket, _checked_prefix(prefix)


def _checked_prefix(prefix: str) -> str:
    cleaned = prefix.strip("/")
    if not cleaned or any(part in {"", ".", ".."} for part in cleaned.split("/")):
        raise ValueError(f"prefix is {prefix!r}: write it like model/version")
    return cleaned


def _safe_relative(name: str) -> PurePosixPath:
    """Refuses a path that would leave the folder it is downloaded into."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise CorruptVersion(f"path {name!r} would leave the folder: do not use this source")
    return path
