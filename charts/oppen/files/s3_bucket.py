# ruff: noqa: INP001 - mounted into a pod as a single file
"""Creates the buckets named on the command line where they are missing."""

import os
import sys
import time
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import S3Error

ATTEMPTS = 60
PAUSE_SECONDS = 5.0


def client(endpoint: str) -> Minio:
    """Opens an S3 endpoint given as http(s)://host[:port], with the login of the environment."""
    url = urlsplit(endpoint)
    return Minio(
        endpoint=url.netloc,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=url.scheme == "https",
        region=os.environ.get("AWS_DEFAULT_REGION"),
        http_client=urllib3.PoolManager(retries=urllib3.Retry(total=2, backoff_factor=0.2)),
    )


def ensure(s3: Minio, bucket: str) -> bool:
    """Makes the bucket unless it exists; says whether it was made."""
    if s3.bucket_exists(bucket_name=bucket):
        return False
    s3.make_bucket(bucket_name=bucket)
    return True


def main(buckets: list[str]) -> int:
    """Waits for the server to come up; a refused login is final."""
    s3 = client(os.environ["OPPEN_S3_ENDPOINT"])
    for attempt in range(1, ATTEMPTS + 1):
        try:
            for bucket in buckets:
                print(
                    f"bucket {bucket}: {'created' if ensure(s3, bucket) else 'exists'}", flush=True
                )
        except S3Error as error:
            print(f"S3 refused: {error.code}: check the Secret with the S3 login", file=sys.stderr)
            return 1
        except urllib3.exceptions.HTTPError as error:
            print(f"S3 is not up yet ({attempt}/{ATTEMPTS}): {error}", file=sys.stderr, flush=True)
            time.sleep(PAUSE_SECONDS)
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
