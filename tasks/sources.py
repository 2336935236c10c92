"""Cache versions from source code: a task's cache ends when the code it runs changes."""

from dataclasses import dataclass
from typing import Any

from flytekit.core.cache import VersionParameters

from training.source_digest import source_digest


@dataclass(frozen=True)
class SourceVersion:
    """A Flyte cache policy: a digest of `modules` and of what they import from their package.

    Flytekit's own policy hashes the body of the task function, which in this project only wraps
    the code that matters.
    """

    modules: tuple[str, ...]
    """Dotted names of the modules that make the task's output; they are not imported."""

    def get_version(self, salt: str, params: VersionParameters[Any, Any] | None) -> str:  # noqa: ARG002 - the policy's signature
        """Digest of the sources, 16 hexadecimal digits.

        Raises:
            ValueError: a module of `modules` does not exist or has no source file.
        """
        return source_digest(self.modules, salt=salt)
