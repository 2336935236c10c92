"""What code decides an output: the digest of modules and of all that they import.

Sources are read, not imported, so that a light task can ask.
"""

import hashlib
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

_IMPORT = re.compile(r"^\s*(?:from|import)\s+([\w.]+)", re.MULTILINE)


def source_digest(modules: Iterable[str], *, salt: str = "") -> str:
    """Digest of modules and of what they import from their own package, 16 hexadecimal digits.

    Args:
        modules: Dotted names.
        salt: Goes into the digest as well.

    Raises:
        ValueError: A module does not exist or has no source file.
    """
    digest = hashlib.sha256(salt.encode())
    for _, source in sorted(sources_of(modules).items()):
        digest.update(source)
    return digest.hexdigest()[:16]


def sources_of(modules: Iterable[str]) -> dict[str, bytes]:
    """Reads modules and, step by step, what they import from their own package.

    An import within a function counts like any other, and so does one in a docstring.

    Raises:
        ValueError: A module does not exist or has no source file.
    """
    sources: dict[str, bytes] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in sources:
            continue
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise ValueError(f"cache module '{module}' has no source file: correct its name")
        sources[module] = Path(spec.origin).read_bytes()
        package = module.split(".")[0] + "."
        imported = _IMPORT.findall(sources[module].decode())
        waiting += [name for name in imported if name.startswith(package)]
    return sources
