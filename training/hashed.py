"""Choices that follow from a text alone, so that every machine makes the same ones."""

import hashlib
from collections.abc import Sequence


def choice(options: Sequence[str], key: str) -> str:
    """Chooses one of the options by the hash of `key`."""
    return options[number(key) % len(options)]


def number(key: str) -> int:
    """Returns the hash of `key` as a number below 2**48."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6])


def some(options: Sequence[str], most: int, key: str) -> list[str]:
    """Chooses up to `most` of the options by their hashes with `key`."""
    return sorted(options, key=lambda option: number(f"{key}/{option}"))[:most]
