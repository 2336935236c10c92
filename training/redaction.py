"""Finds credentials in text and takes them out, so that none reaches a data set or a model."""

import re

REDACTED = "<redacted>"

_PLACEHOLDER = r"(?!['\"]?(?:\$|<|\{\{|%|\*{3}|redacted|changeme\b|x{3}))"
_CREDENTIAL_WORD = (
    r"(?:pass(?:word|wd|phrase)?|secret(?:[-_]?(?:access[-_]?)?key)?|token|api[-_]?key"
    r"|access[-_]?key|private[-_]?key|client[-_]?secret)"
)
_VALUE = rf"{_PLACEHOLDER}(?P<value>'[^'\n]+'|\"[^\"\n]+\"|[^\s'\"`,;|&)}}]+)"

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a cloud access key", re.compile(r"(?P<value>\b(?:AKIA|ASIA)[0-9A-Z]{16}\b)")),
    (
        "a service token",
        re.compile(
            r"(?P<value>\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
            r"|xox[abprs]-[\w-]{10,}|hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}))"
        ),
    ),
    ("a JSON web token", re.compile(r"(?P<value>\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)")),
    (
        "an authorization header",
        re.compile(rf"(?i)\b(?:bearer|basic)\s+{_PLACEHOLDER}(?P<value>[A-Za-z0-9+/=._~-]{{8,}})"),
    ),
    (
        "a password in an address",
        re.compile(rf"(?i)\b[a-z][a-z0-9+.-]*://[^\s:/@]+:{_PLACEHOLDER}(?P<value>[^\s:/@]+)@"),
    ),
    (
        "a credential option",
        re.compile(rf"(?i)(?:^|[\s'\"`])--?[\w-]*{_CREDENTIAL_WORD}(?:=|\s+)(?!-){_VALUE}"),
    ),
    (
        "a credential option",
        re.compile(
            rf"(?:\bcurl\b.*?\s(?:-u|--user)[= ]\s*['\"]?[^\s:]+:|\bredis-cli\b.*?\s-a\s+"
            rf"|\bsshpass\s+-p\s*|\bmysql(?:dump)?\b.*?\s-p(?=\S)){_VALUE}"
        ),
    ),
    (
        "a credential in YAML",
        # A digit or a sign in the value, or quotes, tell it from prose such as "Token: expired".
        re.compile(
            rf"(?i)^[\s>-]*[\w.-]*{_CREDENTIAL_WORD}['\"]?:\s+{_PLACEHOLDER}"
            r"(?P<value>'[^'\n]+'|\"[^\"\n]+\"|(?=\S*[\d!@#%^&*+=/])\S{6,})\s*$"
        ),
    ),
    (
        "a credential assignment",
        re.compile(rf"(?i)(?:\b|_)\w*{_CREDENTIAL_WORD}=(?!=){_VALUE}"),
    ),
)


def redact(line: str) -> tuple[str, tuple[str, ...]]:
    """Replaces each credential of a line by `<redacted>` and says what kinds were found.

    Placeholders (`$TOKEN`, `<password>`, `{{ token }}`) are no credentials and stay.

    >>> redact("curl -H 'Authorization: Bearer abcdef123456' http://api")
    ("curl -H 'Authorization: Bearer <redacted>' http://api", ('an authorization header',))
    """
    found = []
    for kind, pattern in _PATTERNS:
        line, count = pattern.subn(_without_value, line)
        if count:
            found.append(kind)
    return line, tuple(found)


def _without_value(match: re.Match[str]) -> str:
    start, end = match.start("value") - match.start(), match.end("value") - match.start()
    text = match.group()
    return text[:start] + REDACTED + text[end:]
