"""What people type, as the typed values of Flyte and back."""

import doctest
import importlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from flyteidl.core import types_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from operations.literals import literal, plain, type_name
from operations.texts import nearest

T = types_pb2.LiteralType
INTEGER, FLOAT = T(simple=types_pb2.INTEGER), T(simple=types_pb2.FLOAT)
TEXT, BOOLEAN = T(simple=types_pb2.STRING), T(simple=types_pb2.BOOLEAN)
NOTHING = T(simple=types_pb2.NONE)
FOLDER = T(blob=types_pb2.BlobType(dimensionality=types_pb2.BlobType.MULTIPART))
MODULES = (
    *("attempts", "executions", "launching", "literals", "local", "plans", "registration"),
    *("execution", "terms", "texts"),
)


def optional(kind: Any) -> Any:
    """The type `kind | None`."""
    return T(union_type=types_pb2.UnionType(variants=[kind, NOTHING]))


def no_upload(path: Path) -> NoReturn:
    """For values that hold no files."""
    raise AssertionError(path)


def convert(value: Any, kind: Any) -> Any:
    """There and back again."""
    return plain(literal(value, kind, upload=no_upload))


@settings(deadline=None)
@given(
    st.recursive(
        st.integers(-(2**62), 2**62),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.dictionaries(st.text(max_size=5), inner, min_size=1, max_size=3)
        ),
        max_leaves=6,
    )
)
def test_nested_values_survive_the_way_there_and_back(value: Any) -> None:
    """Lists and mappings of numbers of any depth, given as data or as JSON text."""

    def kind_of(item: Any) -> Any:
        if isinstance(item, list):
            return T(collection_type=kind_of(item[0]))
        if isinstance(item, dict):
            return T(map_value_type=kind_of(next(iter(item.values()))))
        return INTEGER

    def like(item: Any, pattern: Any) -> Any:
        """`pattern` repeated where `item` has several entries: Flyte's lists are of one type."""
        if isinstance(pattern, list):
            return [like(item, pattern[0])] * len(pattern)
        if isinstance(pattern, dict):
            first = next(iter(pattern.values()))
            return {key: like(item, first) for key in pattern}
        return pattern

    uniform = like(value, value)
    kind = kind_of(uniform)
    assert convert(uniform, kind) == uniform
    if not isinstance(uniform, int):
        assert convert(json.dumps(uniform), kind) == uniform


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("3", INTEGER, 3),
        ("1e-3", FLOAT, 0.001),
        (7, FLOAT, 7.0),
        ("No", BOOLEAN, False),
        ("true", TEXT, "true"),
        ("null", optional(TEXT), None),
        ("a", optional(TEXT), "a"),
        ("2.5", optional(FLOAT), 2.5),
        (None, optional(INTEGER), None),
        ("s3://bucket/folder", FOLDER, "s3://bucket/folder"),
        (
            "2026-03-01T00:00+02:00",
            T(simple=types_pb2.DATETIME),
            datetime(2026, 2, 28, 22, tzinfo=UTC),
        ),
    ],
)
def test_values_are_read_by_the_declared_type(value: Any, kind: Any, expected: Any) -> None:
    """The same text is a number, a word or nothing, as the workflow declares it."""
    assert convert(value, kind) == expected


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ("3.5", INTEGER, "wants an integer, got '3.5'"),
        (True, INTEGER, "wants an integer, got True"),
        ("99999999999999999999", INTEGER, "wants an integer"),
        ("maybe", BOOLEAN, "wants true or false, got 'maybe'"),
        (5, TEXT, "wants text, got 5"),
        ("x", optional(INTEGER), "wants an integer, got 'x'"),
        ("noon", T(simple=types_pb2.DATETIME), "wants a time, got 'noon'"),
        ("a while", T(simple=types_pb2.DURATION), "wants a duration, got 'a while'"),
        ("local/folder", FOLDER, "wants the address of a folder"),
        ("x", T(simple=types_pb2.BINARY), "start it from Python or the console"),
        ("x", T(schema=types_pb2.SchemaType()), "start it from Python or the console"),
    ],
)
def test_what_does_not_fit_says_what_would(value: Any, kind: Any, said: str) -> None:
    """The message names what is wanted and what was got."""
    with pytest.raises(ValueError, match=said.replace("'", ".")):
        literal(value, kind, upload=no_upload)


def test_types_have_names_for_people() -> None:
    """Nested types read as words."""
    assert type_name(optional(T(collection_type=FLOAT))) == "list of number or nothing"
    assert type_name(T(map_value_type=FOLDER)) == "mapping to folder"


def test_a_hint_lists_what_there_is_when_nothing_is_near() -> None:
    """A wild guess gets the whole list, an empty one says so."""
    assert nearest("zzz", ["epochs", "seed"]) == "; there are: epochs, seed"
    assert nearest("zzz", []) == "; there are none"


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_hold(module: str) -> None:
    """What the documentation of a function shows is what it does."""
    result = doctest.testmod(importlib.import_module(f"operations.{module}"))
    assert result.failed == 0
