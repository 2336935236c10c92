"""Preparing image data: deterministic, described, and refused when it must not be trained on."""

import http.server
import json
import shutil
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from training.idx import write_idx
from training.image_data import DatasetError, hold_out, load_images, prepare_images
from training.image_sources import content_digest

Parts = dict[str, np.ndarray]


def small_parts() -> Parts:
    """Returns 20 training and 10 test pictures of 8 x 9 pixels in ten classes."""
    random = np.random.default_rng(0)
    return {
        "train-images": random.integers(0, 256, (20, 8, 9), dtype=np.uint8),
        "train-labels": np.arange(20, dtype=np.uint8) % 10,
        "t10k-images": random.integers(0, 256, (10, 8, 9), dtype=np.uint8),
        "t10k-labels": np.arange(10, dtype=np.uint8),
    }


def write_parts(folder: Path, parts: Parts, *, end: str = "") -> Path:
    """Writes the four files under their usual names."""
    folder.mkdir(parents=True)
    for name, array in parts.items():
        write_idx(folder / f"{name}-idx{array.ndim}-ubyte{end}", array)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Writes a good folder."""
    return write_parts(tmp_path / "raw", small_parts())


def test_a_folder_is_prepared(folder: Path, tmp_path: Path) -> None:
    """The prepared form holds the same bytes, and the manifest describes them."""
    manifest = prepare_images(folder, tmp_path / "out")
    data = load_images(tmp_path / "out")

    parts = small_parts()
    assert data.manifest == manifest
    assert data.train.images.dtype == torch.uint8
    assert np.array_equal(data.train.images.numpy(), parts["train-images"])
    assert data.test.labels.tolist() == parts["t10k-labels"].tolist()
    assert (manifest.train_count, manifest.test_count) == (20, 10)
    assert (manifest.height, manifest.width) == (8, 9)
    assert manifest.train_class_counts == (2,) * 10
    assert manifest.mean == pytest.approx(parts["train-images"].mean() / 255)
    assert manifest.std == pytest.approx(parts["train-images"].std() / 255)
    assert manifest.source == "folder"
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "images.safetensors",
        "manifest.json",
    ]


def test_same_data_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Packed or not, prepared here or there, the same data give the same files."""
    packed = write_parts(tmp_path / "packed", small_parts(), end=".gz")
    for source, out in ((folder, "a"), (packed, "b")):
        prepare_images(source, tmp_path / out)

    for name in ("images.safetensors", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_digest_follows_the_content(folder: Path, tmp_path: Path) -> None:
    """The digest is the same for a copy, and another when one pixel or class name differs."""
    digest = content_digest(folder)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert content_digest(copy) == digest

    (copy / "classes.txt").write_text("\n".join("abcdefghij"))
    assert content_digest(copy) != digest
    parts = small_parts()
    parts["t10k-images"][0, 0, 0] ^= 1
    assert content_digest(write_parts(tmp_path / "other", parts)) != digest


def test_mnist_5k(tmp_path: Path) -> None:
    """The real digits are split evenly, and no held-out picture is trained on."""
    manifest = prepare_images("mnist-5k", tmp_path)
    data = load_images(tmp_path)

    assert manifest.train_class_counts == (400,) * 10
    assert manifest.test_class_counts == (100,) * 10
    assert "CC BY-SA" in manifest.licence
    train = {image.numpy().tobytes() for image in data.train.images}
    assert not train & {image.numpy().tobytes() for image in data.test.images}
    # The split is part of every figure that is reported for it.
    assert manifest.sha256.startswith("d378b8f2a4080fe7")


def test_classes_txt_names_the_classes(folder: Path, tmp_path: Path) -> None:
    """A folder may name its classes, more or fewer than ten."""
    (folder / "classes.txt").write_text("zero\none\ntwo\nthree\nfour\nfive\nsix\n7\n8\n9\n")

    assert prepare_images(folder, tmp_path / "out").classes[0] == "zero"


def with_label(parts: Parts) -> None:
    """Adds a label beyond the last class."""
    parts["train-labels"][3] = 12


def without_class(parts: Parts) -> None:
    """Takes a class out of training."""
    parts["train-labels"][parts["train-labels"] == 4] = 5


def with_fewer_labels(parts: Parts) -> None:
    """Loses a label."""
    parts["t10k-labels"] = parts["t10k-labels"][:-1]


def without_test(parts: Parts) -> None:
    """Empties the held-out part."""
    parts["t10k-images"], parts["t10k-labels"] = parts["t10k-images"][:0], parts["t10k-labels"][:0]


def with_other_size(parts: Parts) -> None:
    """Makes the parts differ in size."""
    parts["t10k-images"] = parts["t10k-images"][:, :, :-1]


def too_small(parts: Parts) -> None:
    """Leaves nothing for the convolutions."""
    for name in ("train-images", "t10k-images"):
        parts[name] = parts[name][:, :5, :5]


def blank(parts: Parts) -> None:
    """Makes all pixels equal."""
    parts["train-images"][:] = 7


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (with_label, "train label 12 at position 3 is out of range 0..9"),
        (without_class, "class '4' .label 4. has no image in train"),
        (with_fewer_labels, "test has 10 images and 9 labels"),
        (without_test, "test is empty"),
        (with_other_size, "one size"),
        (too_small, "needs at least 8 on each side"),
        (blank, "all train pixels have one value"),
    ],
)
def test_refused_data(tmp_path: Path, spoil: Callable[[Parts], None], says: str) -> None:
    """Data that cannot be trained on is refused with what and where, and nothing is written."""
    parts = small_parts()
    spoil(parts)
    folder = write_parts(tmp_path / "raw", parts)

    with pytest.raises(DatasetError, match=says) as error:
        prepare_images(folder, tmp_path / "out")

    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def missing(folder: Path) -> None:
    """Loses a file."""
    (folder / "t10k-labels-idx1-ubyte").unlink()


def swapped(folder: Path) -> None:
    """Puts labels where images belong."""
    (folder / "train-labels-idx1-ubyte").rename(folder / "train-images-idx3-ubyte")
    write_idx(folder / "train-labels-idx1-ubyte", small_parts()["train-labels"])


def cut(folder: Path) -> None:
    """Truncates a file."""
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])


def one_class(folder: Path) -> None:
    """Names a single class."""
    (folder / "classes.txt").write_text("only\n")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (missing, "has no t10k-labels-idx1-ubyte"),
        (swapped, "train-images-idx3-ubyte starts with 0x00000801"),
        (cut, "train-images-idx3-ubyte is truncated: 1,340 of 1,440 bytes"),
        (one_class, "there are 1 classes"),
    ],
)
def test_refused_folders(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    """A folder with a missing or wrong file is refused by the file's name."""
    spoil(folder)

    with pytest.raises(ValueError, match=says):
        prepare_images(folder, tmp_path / "out")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("minst", "neither a folder nor a known name; give 'fashion-mnist', 'mnist', 'mnist-5k'"),
        ("s3://bucket/digits", "fetch the folder from S3 first"),
        ("http://example.com/digits", "give an https:// address, not http://"),
        ("ftp://example.com/digits", "give an https:// address, not ftp://"),
        ("file:///etc", "give an https:// address, not file://"),
    ],
)
def test_refused_sources(tmp_path: Path, source: str, says: str) -> None:
    """A name or address that cannot be read says what can."""
    for use in (content_digest, lambda name: prepare_images(name, tmp_path / "out")):
        with pytest.raises(ValueError, match=says):
            use(source)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the prepared form would not fit, nothing is started."""
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - the shape of shutil's own
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 90, 10))

    with pytest.raises(DatasetError, match="has 10 bytes free and the data set needs 2,190"):
        prepare_images(folder, tmp_path / "out")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["bytes", "manifest", "missing", "format"])
def test_damaged_prepared_data_is_refused(folder: Path, tmp_path: Path, damage: str) -> None:
    """What was changed after it was prepared is not trained on."""
    out = tmp_path / "out"
    prepare_images(folder, out)
    if damage == "bytes":
        content = bytearray((out / "images.safetensors").read_bytes())
        content[-1] ^= 1
        (out / "images.safetensors").write_bytes(content)
    elif damage == "manifest":
        (out / "manifest.json").write_text("{")
    elif damage == "missing":
        (out / "images.safetensors").unlink()
    else:
        record = json.loads((out / "manifest.json").read_text())
        (out / "manifest.json").write_text(json.dumps(record | {"format": "other"}))

    with pytest.raises(DatasetError, match="prepare"):
        load_images(out)


@pytest.fixture
def served(folder: Path) -> Iterator[str]:
    """Serves the raw files over HTTP on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

    handler = partial(Quiet, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{folder.name}"
        server.shutdown()


def test_an_address_is_fetched(served: str, folder: Path, tmp_path: Path) -> None:
    """The files of an address give the same prepared pictures and digest as the folder."""
    here = prepare_images(folder, tmp_path / "here")
    there = prepare_images(served, tmp_path / "there")

    assert there.sha256 == here.sha256
    assert there.source == served
    assert content_digest(served) == content_digest(folder)


def test_an_address_without_the_files_says_so(served: str, tmp_path: Path) -> None:
    """A wrong address is answered with the name of the first file that is missing."""
    with pytest.raises(ConnectionError, match=r"nothing-here.* has no train-images-idx3-ubyte"):
        prepare_images(f"{served}/nothing-here", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_too_large_is_not_fetched(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file beyond the limit is refused before it is read."""
    monkeypatch.setattr("training.image_sources.MAX_DOWNLOAD_BYTES", 100)
    with pytest.raises(ValueError, match="has 1,456 bytes; at most 100 are fetched"):
        prepare_images(served, tmp_path / "out")


def test_held_out_part_for_tuning(tmp_path: Path) -> None:
    """The training part is divided by class; the test part does not appear."""
    prepare_images("mnist-5k", tmp_path)
    data = load_images(tmp_path)

    tuning = hold_out(data, fraction=0.15, seed=1)

    assert tuning.manifest.test_class_counts == (60,) * 10
    assert tuning.manifest.train_class_counts == (340,) * 10
    assert len(tuning.train) + len(tuning.test) == len(data.train)
    assert not torch.equal(tuning.test.images, hold_out(data, fraction=0.15, seed=2).test.images)
