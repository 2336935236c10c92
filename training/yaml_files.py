"""Reads the YAML files of an agent's folder: a mapping, with no key written twice."""

from pathlib import Path
from typing import Any

import yaml


class YamlError(ValueError):
    """A YAML file that is missing, is not YAML, or is not a mapping."""


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, where YAML would keep the last."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is written twice", key_node.start_mark
            )
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file whose top level is a mapping.

    Raises:
        YamlError: One line that names the file, the place and the mend.
    """
    if not path.is_file():
        raise YamlError(f"{path}: there is no such file; create it")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError as error:
        raise YamlError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise YamlError(f"{path}:{line}: is not valid YAML: {error.problem}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise YamlError(f"{path}: must be a mapping of names to values")
    return content
