"""The prepared form of an image data set: one safetensors file of bytes, and a manifest.

Same source, same bytes: nothing of the machine or the hour goes in, so that a cache by content
holds.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from training.image_sources import RawImages, read_source, split_by_class

FORMAT = "oppen-images-1"
DATA_FILE = "images.safetensors"
MANIFEST_FILE = "manifest.json"
MIN_SIDE_PIXELS = 8
"""Two 3x3 convolutions and a pooling leave nothing of smaller pictures."""


class DatasetError(ValueError):
    """A data set that must not be trained on; the message says what is wrong and where."""


@dataclass(frozen=True, kw_only=True)
class ImageManifest:
    """What a prepared data set holds."""

    source: str
    """The name or address it was prepared from; "folder" for a folder."""

    licence: str
    """Who made the pictures and on what terms."""

    classes: tuple[str, ...]
    """The name of each label, in order."""

    train_count: int
    """Pictures to train on."""

    test_count: int
    """Pictures held out."""

    train_class_counts: tuple[int, ...]
    """Training pictures of each class."""

    test_class_counts: tuple[int, ...]
    """Held-out pictures of each class."""

    height: int
    """Pixels."""

    width: int
    """Pixels."""

    mean: float
    """Mean brightness of the training pixels, where 1 is white."""

    std: float
    """Their standard deviation, on the same scale."""

    sha256: str
    """SHA-256 of the safetensors file."""

    format: str = FORMAT
    """The version of this layout."""

    def to_json(self) -> str:
        """Writes the manifest as JSON with sorted keys."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ImageManifest":
        """Reads what `to_json` wrote."""
        record: dict[str, Any] = json.loads(text)
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise DatasetError(f"{MANIFEST_FILE} is not in the {FORMAT} format; prepare again")
        sequences = ("classes", "train_class_counts", "test_class_counts")
        return cls(**record | {name: tuple(record[name]) for name in sequences})


@dataclass(frozen=True, kw_only=True)
class ImageSplit:
    """Pictures and their labels."""

    images: Tensor
    """(N, H, W) uint8."""

    labels: Tensor
    """(N,) int64."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A prepared data set in memory, on the CPU."""

    manifest: ImageManifest
    train: ImageSplit
    test: ImageSplit


def prepare_images(source: str | Path, out: Path) -> ImageManifest:
    """Reads, checks and writes a data set in its prepared form.

    Args:
        source: See `read_source`.
        out: The folder to write `images.safetensors` and `manifest.json` into.

    Raises:
        DatasetError: The data must not be trained on; `out` is untouched.
        ValueError: The source is unknown or damaged.
        ConnectionError: It could not be fetched.
    """
    raw = read_source(source)
    check(raw)
    arrays = {
        "train_images": np.ascontiguousarray(raw.train_images),
        "train_labels": np.ascontiguousarray(raw.train_labels),
        "test_images": np.ascontiguousarray(raw.test_images),
        "test_labels": np.ascontiguousarray(raw.test_labels),
    }
    _need_disk(out, sum(array.nbytes for array in arrays.values()))
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f".{DATA_FILE}.partial"
    try:
        save_file(arrays, partial)
        manifest = _describe(raw, sha256=_sha256(partial))
        partial.replace(out / DATA_FILE)
        partial.write_text(manifest.to_json(), encoding="utf-8")
        partial.replace(out / MANIFEST_FILE)
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def load_images(folder: Path) -> ImageData:
    """Reads a prepared data set and compares it with its manifest.

    Raises:
        DatasetError: It is incomplete or damaged.
    """
    path = folder / DATA_FILE
    try:
        manifest = ImageManifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        if _sha256(path) != manifest.sha256:
            raise DatasetError(f"{path} does not have the SHA-256 of its manifest; prepare again")
        tensors = load_file(path)
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f"{folder} is not a prepared data set ({error}); prepare it") from error
    return ImageData(
        manifest=manifest,
        train=ImageSplit(images=tensors["train_images"], labels=tensors["train_labels"].long()),
        test=ImageSplit(images=tensors["test_images"], labels=tensors["test_labels"].long()),
    )


def hold_out(data: ImageData, *, fraction: float, seed: int) -> ImageData:
    """Returns the training part alone, a fraction of each class of it held out as `test`.

    This is what settings are tuned on: the test part proper stays unseen.
    """
    images, labels = data.train.images.numpy(), data.train.labels.numpy().astype(np.uint8)
    kept, held_out = split_by_class(images, labels, test_fraction=fraction, seed=seed)

    def part(mask: NDArray[np.bool_]) -> ImageSplit:
        chosen = torch.from_numpy(mask)
        return ImageSplit(images=data.train.images[chosen], labels=data.train.labels[chosen])

    manifest = replace(
        data.manifest,
        train_count=int(kept.sum()),
        test_count=int(held_out.sum()),
        train_class_counts=_class_counts(labels[kept], len(data.manifest.classes)),
        test_class_counts=_class_counts(labels[held_out], len(data.manifest.classes)),
    )
    return ImageData(manifest=manifest, train=part(kept), test=part(held_out))


def check(raw: RawImages) -> None:
    """Refuses what must not be trained on.

    Raises:
        DatasetError: Says which part, and what is wrong with it.
    """
    parts = {
        "train": (raw.train_images, raw.train_labels),
        "test": (raw.test_images, raw.test_labels),
    }
    if len(raw.classes) < 2:
        raise DatasetError(f"there are {len(raw.classes)} classes; name at least 2 in classes.txt")
    for name, (images, labels) in parts.items():
        if len(images) != len(labels):
            raise DatasetError(
                f"{name} has {len(images):,} images and {len(labels):,} labels; "
                f"give files that belong together"
            )
        if len(labels) == 0:
            raise DatasetError(f"{name} is empty; give at least one image")
        if int(labels.max()) >= len(raw.classes):
            position = int(np.argmax(labels >= len(raw.classes)))
            raise DatasetError(
                f"{name} label {labels[position]} at position {position:,} is out of range "
                f"0..{len(raw.classes) - 1}; correct it, or name more classes in classes.txt"
            )
    if raw.train_images.shape[1:] != raw.test_images.shape[1:]:
        raise DatasetError(
            f"train images are {raw.train_images.shape[1:]} and test images "
            f"{raw.test_images.shape[1:]} pixels; give one size"
        )
    if min(raw.train_images.shape[1:]) < MIN_SIDE_PIXELS:
        raise DatasetError(
            f"images are {raw.train_images.shape[1:]} pixels; "
            f"the model needs at least {MIN_SIDE_PIXELS} on each side"
        )
    absent = np.flatnonzero(np.bincount(raw.train_labels, minlength=len(raw.classes)) == 0)
    if len(absent):
        raise DatasetError(
            f"class {raw.classes[absent[0]]!r} (label {absent[0]}) has no image in train; "
            f"add some, or take it out of the classes"
        )
    if raw.train_images.min() == raw.train_images.max():
        raise DatasetError("all train pixels have one value; give images with something in them")


def _describe(raw: RawImages, *, sha256: str) -> ImageManifest:
    # From the histogram the moments are exact, whatever the order of the pixels.
    histogram = np.bincount(raw.train_images.reshape(-1), minlength=256)
    brightness = np.arange(256) / 255
    mean = float(np.average(brightness, weights=histogram))
    variance = float(np.average((brightness - mean) ** 2, weights=histogram))
    _, height, width = raw.train_images.shape
    return ImageManifest(
        source=raw.source,
        licence=raw.licence,
        classes=raw.classes,
        train_count=len(raw.train_labels),
        test_count=len(raw.test_labels),
        train_class_counts=_class_counts(raw.train_labels, len(raw.classes)),
        test_class_counts=_class_counts(raw.test_labels, len(raw.classes)),
        height=height,
        width=width,
        mean=mean,
        std=variance**0.5,
        sha256=sha256,
    )


def _class_counts(labels: NDArray[np.uint8], classes: int) -> tuple[int, ...]:
    return tuple(int(count) for count in np.bincount(labels, minlength=classes))


def _need_disk(out: Path, num_bytes: int) -> None:
    """Refuses to start writing what will not fit."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < num_bytes + 2**20:
        raise DatasetError(
            f"{os.fspath(out)} has {free:,} bytes free and the data set needs {num_bytes:,}; "
            f"make room or choose another folder"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
