"""Texts that stand for several: `Is {it|that} {red|green}?` is four questions."""

import re
from collections.abc import Iterator

_CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")


def expanded(template: str) -> Iterator[str]:
    """Writes out every choice of a template.

    >>> list(expanded("{It|That} is red."))
    ['It is red.', 'That is red.']
    """
    match = _CHOICE.search(template)
    if match is None:
        yield template
        return
    for option in match[1].split("|"):
        yield from expanded(template[: match.start()] + option + template[match.end() :])
