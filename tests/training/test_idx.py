"""The IDX reader: every byte comes back, and a file that is something else is refused by name."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.idx import IdxError, read_idx, write_idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@settings(max_examples=30, deadline=None)
@given(
    array=arrays(np.uint8, st.tuples(*[st.integers(0, 4)] * 3)), end=st.sampled_from(["", ".gz"])
)
def test_roundtrip(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, end: str) -> None:
    """What is written is read, gzipped or not, empty or not."""
    path = tmp_path_factory.mktemp("idx") / f"images{end}"
    write_idx(path, array)

    assert np.array_equal(read_idx(path, dimensions=3), array)


def test_gzip_is_recognised_by_content(tmp_path: Path) -> None:
    """A packed file without .gz in its name is read all the same."""
    write_idx(tmp_path / "images.gz", IMAGES)
    renamed = (tmp_path / "images.gz").rename(tmp_path / "images")

    assert np.array_equal(read_idx(renamed, dimensions=3), IMAGES)


def content() -> bytes:
    """Returns a good file of images."""
    return bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + IMAGES.tobytes()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (b"", "starts with 0x, an IDX file of 3-dimensional unsigned bytes starts with 0x00000803"),
        (b"\x00\x00\x08\x01" + content()[4:], "starts with 0x00000801"),
        (b"\x00\x00\x0d\x03" + content()[4:], "starts with 0x00000d03"),
        (content()[:10], "ends inside its header"),
        (content()[:-1], "is truncated: 23 of 24 bytes"),
        (content() + b"x", "goes on after the 24 bytes"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "announces .* at most 4,294,967,296 fit"),
        (gzip.compress(content(), mtime=0)[:-9], "is a damaged gzip file"),
        (gzip.compress(content(), mtime=0)[:20] + b"garbage" * 9, "is a damaged gzip file"),
        (gzip.compress(content()[:-1], mtime=0), "is truncated: 23 of 24 bytes"),
    ],
)
def test_refused(tmp_path: Path, broken: bytes, says: str) -> None:
    """Each way a file can be wrong has its own line, with the file's name."""
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(broken)

    with pytest.raises(IdxError, match=f"^train-images-idx3-ubyte {says}"):
        read_idx(path, dimensions=3)
