"""The IDX format of the MNIST family: big-endian header, then unsigned bytes, gzipped or not."""

import gzip
import math
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GZIP_MAGIC = b"\x1f\x8b"
UNSIGNED_BYTE = 0x08
MAX_BYTES = 4 * 2**30
"""The largest array that is read: a header cannot make this process ask for more memory."""


class IdxError(ValueError):
    """A file that is not the IDX file it should be."""


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Reads an IDX file of unsigned bytes.

    Args:
        path: The file; gzip is recognised by its content, not by its name.
        dimensions: 3 for images (count, height, width), 1 for labels (count,).

    Raises:
        IdxError: Wrong magic number, truncated, longer than its header says, damaged gzip, or
            larger than `MAX_BYTES`. The message names the file.
    """
    with path.open("rb") as raw:
        compressed = raw.read(2) == GZIP_MAGIC
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            return _read(file, path, dimensions)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise IdxError(f"{path.name} is a damaged gzip file ({error}); fetch it again") from error


def _read(file: BufferedIOBase, path: Path, dimensions: int) -> NDArray[np.uint8]:
    magic = file.read(4)
    wanted = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if magic != wanted:
        raise IdxError(
            f"{path.name} starts with 0x{magic.hex()}, an IDX file of {dimensions}-dimensional "
            f"unsigned bytes starts with 0x{wanted.hex()}; check which file this is"
        )
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise IdxError(f"{path.name} ends inside its header; fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(header, dtype=">u4"))
    size = math.prod(shape)
    if size > MAX_BYTES:
        raise IdxError(f"{path.name} announces {size:,} bytes {shape}; at most {MAX_BYTES:,} fit")
    content = file.read(size + 1)
    if len(content) < size:
        raise IdxError(
            f"{path.name} is truncated: {len(content):,} of {size:,} bytes; fetch it again"
        )
    if len(content) > size:
        raise IdxError(f"{path.name} goes on after the {size:,} bytes of its header; check it")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Writes an IDX file of unsigned bytes, gzipped if its name ends in `.gz`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels.gz"
    >>> write_idx(path, np.array([3, 1, 4], dtype=np.uint8))
    >>> read_idx(path, dimensions=1).tolist()
    [3, 1, 4]
    """
    header = bytes([0, 0, UNSIGNED_BYTE, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    content = header + np.ascontiguousarray(array).tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
