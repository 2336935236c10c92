"""Objects in one S3 bucket: streamed, hashed, retried, with errors that show no address or key."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

from stores.settings import ObjectStore, Settings

if TYPE_CHECKING:
    from minio import Minio
    from urllib3 import PoolManager, Retry

_CHUNK = 1 << 20
_PART_BYTES = 16 << 20  # larger files go up in parts of this size
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchUpload"})


UNREADABLE = "unreadable"
"""Stands in for the digest of an object that a healthy server cannot give back."""


class StoreUnavailable(ConnectionError):  # noqa: N818 - reads as the state it reports
    """S3 does not answer, or not now; trying again later may help."""


class StoreRefused(ValueError):  # noqa: N818 - as above
    """S3 refused: wrong keys, no such bucket; the same request will be refused again."""


class Objects:
    """The objects of a bucket.

    Args:
        client: a client of the server.
        bucket: the bucket.
        retry: patience of a download that breaks off in the middle.
    """

    def __init__(self, client: "Minio", bucket: str, retry: "Retry") -> None:
        self._client = client
        self._retry = retry
        self.bucket = bucket

    def ensure_bucket(self) -> None:
        """Makes the bucket if it is not there."""
        from minio.error import S3Error

        if self._client.bucket_exists(self.bucket):
            return
        try:
            self._client.make_bucket(self.bucket)
        except S3Error as error:
            if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise

    def names(self, prefix: str) -> list[str]:
        """Lists all names that begin with `prefix`; a bucket that is not there has none."""
        from minio.error import S3Error

        try:
            found = list(self._client.list_objects(self.bucket, prefix, recursive=True))
        except S3Error as error:
            if error.code in _MISSING:
                return []
            raise
        return [str(each.object_name) for each in found]

    def size(self, name: str) -> int | None:
        """Returns the size in bytes, or None for an object that is not there."""
        from minio.error import S3Error

        try:
            return self._client.stat_object(self.bucket, name).size
        except S3Error as error:
            if error.code in _MISSING:
                return None
            raise

    def digest(self, name: str, copy: IO[bytes] | None = None) -> str | None:
        """Streams an object through SHA-256 and into `copy`; None when it is not there.

        A download that breaks off begins again, with the back-off of the client. An object whose
        blocks are damaged on the server's disk is `UNREADABLE`, so that it can be stored again.
        """
        import urllib3

        retry = self._retry
        while True:
            try:
                return self._digest_once(name, copy)
            except urllib3.exceptions.MaxRetryError as error:
                if not isinstance(error.reason, urllib3.exceptions.ResponseError):
                    raise
                self._client.bucket_exists(self.bucket)  # raises if it is the server that is ill
                return UNREADABLE
            except urllib3.exceptions.HTTPError as error:
                retry = retry.increment(method="GET", url=name, error=error)
                retry.sleep()

    def read(self, name: str) -> bytes | None:
        """Returns a small object, None when it is not there, or nothing when it is unreadable."""
        content = BytesIO()
        digest = self.digest(name, content)
        if digest is None:
            return None
        return b"" if digest == UNREADABLE else content.getvalue()

    def upload(self, name: str, path: Path) -> None:
        """Uploads a file, a large one in parts."""
        self._client.fput_object(self.bucket, name, str(path), part_size=_PART_BYTES)

    def write(self, name: str, content: bytes) -> None:
        """Writes a small JSON object."""
        data, kind = BytesIO(content), "application/json"
        self._client.put_object(self.bucket, name, data, len(content), content_type=kind)

    def remove(self, name: str) -> None:
        """Removes an object; one that is not there is fine."""
        self._client.remove_object(self.bucket, name)

    def _digest_once(self, name: str, copy: IO[bytes] | None) -> str | None:
        from minio.error import S3Error

        if copy is not None:
            copy.seek(0)
            copy.truncate()
        try:
            response = self._client.get_object(self.bucket, name)
        except S3Error as error:
            if error.code in _MISSING:
                return None
            raise
        digest = hashlib.sha256()
        try:
            for chunk in response.stream(_CHUNK):
                digest.update(chunk)
                if copy is not None:
                    copy.write(chunk)
        finally:
            response.close()
            response.release_conn()
        return digest.hexdigest()


def minio_client(store: ObjectStore, pool: "PoolManager") -> "Minio":
    """Makes a client that speaks through `pool`, which decides its patience."""
    from minio import Minio

    return Minio(
        store.host,
        access_key=store.access_key_id,
        secret_key=store.secret_access_key,
        secure=store.secure,
        region=store.region,
        http_client=pool,
    )


@contextmanager
def open_objects(settings: Settings, bucket: str | None = None) -> Iterator[Objects]:
    """Gives the objects of a bucket, with a client that waits for a restart of the server.

    Raises:
        StoreUnavailable: S3 does not answer for a minute.
        StoreRefused: S3 says no.
    """
    import urllib3
    from minio.error import MinioException, S3Error

    store = settings.object_store()
    retry = urllib3.Retry(
        total=None,
        connect=7,
        read=7,
        status=3,  # SeaweedFS tries for seconds itself before it answers 500
        backoff_factor=0.5,  # 0 + 1 + 2 + 4 + 8 + 15 + 15 s
        backoff_max=15,
        status_forcelist=(500, 502, 503, 504),
        allowed_methods=None,
    )
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=60), retries=retry)
    try:
        yield Objects(minio_client(store, pool), bucket or store.bucket, retry)
    except S3Error as error:
        raise StoreRefused(
            f"S3 at {store.host} refuses ({error.code}): check OPPEN_S3_BUCKET, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    except (urllib3.exceptions.HTTPError, MinioException) as error:
        # urllib3's message may hold a signed address: only its kind is told.
        reason = type(getattr(error, "reason", None) or error).__name__
        raise StoreUnavailable(
            f"S3 at {store.host} does not answer ({reason}): start it, or mend OPPEN_S3_ENDPOINT"
        ) from None
    finally:
        pool.clear()
