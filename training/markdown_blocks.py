"""Markdown as a flat list of headings, texts and code blocks, each with its line numbers."""

import re
from dataclasses import dataclass
from enum import StrEnum

from markdown_it import MarkdownIt
from markdown_it.token import Token

_FENCE_LINE = re.compile(r"^[\s>]*(`{3,}|~{3,})\s*([\w-]*)\s*$")


class BlockKind(StrEnum):
    """What a block is."""

    HEADING = "heading"
    TEXT = "text"
    CODE = "code"


@dataclass(frozen=True, kw_only=True)
class Block:
    """One leaf block of a Markdown document."""

    kind: BlockKind
    """Heading, text (a paragraph or a list item's) or code."""

    text: str
    """Text without markup; of code, its content."""

    line: int
    """First line in the document, counted from 1."""

    level: int = 0
    """Level of a heading, from 1."""

    label: bool = False
    """Whether a text starts with strong text, as `**Symptoms:**` does."""

    codes: tuple[str, ...] = ()
    """Inline code of a text."""

    language: str = ""
    """Language of a fence, lower case."""

    first_content_line: int = 0
    """First line inside a code block, counted from 1."""

    closed: bool = True
    """False for a fence that ends with its container instead of a closing mark."""


def read_blocks(text: str) -> tuple[Block, ...]:
    """Parses CommonMark; front matter between two `---` lines is skipped."""
    lines = _without_front_matter(text.splitlines())
    tokens = MarkdownIt("commonmark").parse("\n".join(lines))
    blocks, heading_level = [], 0
    for token in tokens:
        if token.type == "heading_open":
            heading_level = int(token.tag[1:])
        elif token.type == "heading_close":
            heading_level = 0
        elif token.type == "inline":
            blocks.append(_text_block(token, heading_level))
        elif token.type in ("fence", "code_block"):
            blocks.append(_code_block(token, lines))
    return tuple(blocks)


def _without_front_matter(lines: list[str]) -> list[str]:
    """Blanks the front matter, so that line numbers stay."""
    if not lines or lines[0].strip() != "---":
        return lines
    for end in range(1, len(lines)):
        if lines[end].strip() == "---":
            return [""] * (end + 1) + lines[end + 1 :]
    return lines


def _text_block(token: Token, heading_level: int) -> Block:
    children = token.children or []
    meaningful = [child for child in children if child.content or child.type.endswith("_open")]
    return Block(
        kind=BlockKind.HEADING if heading_level else BlockKind.TEXT,
        text=" ".join(_plain(children).split()),
        line=_first_line(token),
        level=heading_level,
        label=bool(meaningful) and meaningful[0].type == "strong_open",
        codes=tuple(child.content for child in children if child.type == "code_inline"),
    )


def _plain(children: list[Token]) -> str:
    breaks = {"softbreak": " ", "hardbreak": " "}
    return "".join(
        breaks.get(child.type, child.content if not child.type.startswith("html") else "")
        for child in children
    )


def _code_block(token: Token, lines: list[str]) -> Block:
    fenced = token.type == "fence"
    first, end = token.map or [0, 0]
    info = token.info.split()
    return Block(
        kind=BlockKind.CODE,
        text=token.content,
        line=first + 1,
        language=info[0].strip("{}.").lower() if info else "",
        first_content_line=first + (2 if fenced else 1),
        closed=not fenced or _is_closed(token, lines[first:end]),
    )


def _is_closed(token: Token, rows: list[str]) -> bool:
    """Whether the last row is the closing mark, and no other fence is opened inside."""
    last = _FENCE_LINE.match(rows[-1]) if len(rows) > 1 else None
    mark = token.markup
    if last is None or last[2] or last[1][0] != mark[0] or len(last[1]) < len(mark):
        return False
    inside = (_FENCE_LINE.match(row) for row in rows[1:-1])
    return not any(match and match[2] and match[1].startswith(mark) for match in inside)


def _first_line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 1
