"""The versions of the software that a run used, for the tags of the run and of its model."""

import platform
from importlib.metadata import version


def software_versions(*distributions: str) -> dict[str, str]:
    """Names the versions of Python and of installed distributions, as tags.

    Raises:
        PackageNotFoundError: one of them is not installed.
    """
    versions = {"python": platform.python_version()}
    versions |= {name: version(name) for name in distributions}
    return {f"oppen.version.{name}": number for name, number in versions.items()}
