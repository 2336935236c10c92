"""The formulas in the documentation and in docstrings are what the code does."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "cost-model.md"
MODULES = ("quantities", "usage", "tariff", "bill", "speed")


def test_every_example_of_the_cost_model_holds() -> None:
    """Each `>>>` of docs/cost-model.md gives what is printed below it."""
    text = re.sub(r"^```.*$", "", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, DOCUMENT.name, str(DOCUMENT), 0)
    result = doctest.DocTestRunner().run(examples)
    assert result.attempted > 30
    assert result.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name: str) -> None:
    """Arithmetic is shown where it is defined."""
    result = doctest.testmod(importlib.import_module(f"accounting.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
