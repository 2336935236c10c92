"""Requests that come close to an alert and are none: its words, and nothing that is wrong.

A model that has met a word in one alert alone would take the word for the alert. Here it meets
them in small talk, and pieces of vague requests put together anew. Everything is chosen by hashes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from training.alerts import Alert
from training.alternatives import expanded
from training.examples import Split
from training.hashed import choice, number, some
from training.phrasings import symptoms_of, upper_first, words_of

_WORD = re.compile(r"[A-Za-z][A-Za-z-]{2,}")
_FORMS: Mapping[Split, tuple[str, ...]] = MappingProxyType(
    {
        Split.TRAIN: (
            "What about the {one}?",
            "Is the {one} in good shape?",
            "Who looks after the {one} and the {two}?",
            "How many {one} do we have?",
            "Do you remember the {one} of last month?",
            "{one} or {two}?",
            "Something with {one}, maybe {two}.",
            "Tell me more about the {one}.",
            "We spoke of {one} and {two} today.",
            "Let us wait for the {one}.",
            "Please do something with the {one}.",
            "{one} {two} {three}.",
            "{pieces}.",
            "{pieces}, is it not?",
            "Again {pieces}?",
        ),
        Split.VALID: (
            "Is it the {one} or the {two}?",
            "Nothing but {one} and {two} here.",
            "So much for the {one}.",
            "{two}, {one} and {three}.",
            "Now {pieces}.",
        ),
    }
)
_GOOD_NEWS: Mapping[Split, tuple[str, ...]] = MappingProxyType(
    {
        Split.TRAIN: (
            "The {one} is fine again.",
            "The {one} and the {two} look good.",
            "No more trouble with the {one}, thanks.",
            "The {one} works since you changed the {two}.",
            "Whatever the {one} did, it is over.",
            "All {one} run, all {two} too.",
            "My {one} behaves, so does the {two}.",
            "Most of the {one} recovered.",
            "I like our new {one}.",
            "{The|Our|My} {one} {is|looks|seems} {fine|normal|stable|good} {again|now|once more}.",
            "{It|That|This} {healed|settled|faded|went quiet} {alone|after a while|at last|later}.",
            "{The|That} {one} {alarm|message|ticket} {is over|is closed|can be closed}, thanks.",
            "{Everybody|The team} {is happy|is content} with the {one} {again|now}.",
            "{Since|After} the {restart|change|night} the {one} {works|holds|is calm}.",
            "{Nothing|No step} is needed for the {one} {any more|now}.",
            "{A while ago|This morning|At noon} the {one} {returned|recovered|was well}.",
            "{Every|Each} {one} {was|has been} {good|sound|in order} {since|for days|so far}.",
        ),
        Split.VALID: ("The {one} is well now.", "Every {one} came through the night."),
    }
)
_MOST: Mapping[Split, int] = MappingProxyType({Split.TRAIN: 12, Split.VALID: 2})
"""Requests of either kind in the words of one alert."""

_LONG = 5
"""Letters from which on a word of a symptom says what it is about."""


def near_misses(alerts: Sequence[Alert], split: Split) -> Iterator[tuple[str, str]]:
    """Writes requests with words of alerts' names and symptoms that ask about no alert.

    Yields:
        A request, and the name of the reply it gets: "clarify" or "thanks".
    """
    words = {alert.name: _words(alert) for alert in alerts}
    everyone = sorted({word for own in words.values() for word in own})
    for reply, forms in (("clarify", _FORMS), ("thanks", _GOOD_NEWS)):
        for alert in alerts:
            for form in some(forms.get(split, ()), _MOST.get(split, 0), alert.name):
                key = f"{form}/{alert.name}"
                text = choice(list(expanded(form)), key).format(
                    one=choice(words[alert.name], key),
                    two=choice(everyone, f"two/{key}"),
                    three=choice(everyone, f"three/{key}"),
                    pieces=_pieces(alert, key),
                )
                yield upper_first(text), reply


def spliced(texts: Sequence[str]) -> Iterator[str]:
    """Joins the first half of each text with the second half of two others."""
    halves = [_halves(text) for text in texts if len(text.split()) > 2]
    for first, _ in halves:
        for turn in range(2):
            _, second = halves[number(f"{turn}/{first}") % len(halves)]
            yield f"{first} {second}"


def _words(alert: Alert) -> list[str]:
    symptoms = " ".join(symptoms_of(alert)).lower()
    telling = {word for word in _WORD.findall(symptoms) if len(word) >= _LONG}
    return sorted(telling | set(words_of(alert.name).split()))


def _pieces(alert: Alert, key: str) -> str:
    """Takes half of the words of a symptom, in another order."""
    symptoms = symptoms_of(alert) or (words_of(alert.name),)
    words = choice(symptoms, key).lower().split()
    mixed = sorted(words, key=lambda word: number(f"{key}/{word}"))
    return " ".join(mixed[: max(2, len(mixed) // 2)])


def _halves(text: str) -> tuple[str, str]:
    words = text.split()
    middle = len(words) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])
