"""Cache versions from source code: a task's cache ends when the code it runs changes."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flytekit.core.cache import VersionParameters


@dataclass(frozen=True)
class SourceVersion:
    """A Flyte cache policy: the version is a digest of the source files of `modules`.

    Flytekit's own policy hashes the body of the task function, which in this project only wraps
    the code that matters.
    """

    modules: tuple[str, ...]
    """Dotted names of the modules whose code decides the task's output; they are not imported."""

    def get_version(self, salt: str, params: VersionParameters[Any, Any] | None) -> str:  # noqa: ARG002 - the policy's signature
        """Digest of the sources, 16 hexadecimal digits.

        Raises:
            ValueError: a module of `modules` does not exist or has no source file.
        """
        digest = hashlib.sha256(salt.encode())
        for module in self.modules:
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                raise ValueError(f"cache module '{module}' has no source file: correct its name")
            digest.update(Path(spec.origin).read_bytes())
        return digest.hexdigest()[:16]
