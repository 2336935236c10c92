"""What every task asks of Flyte, whatever its machine."""

import pytest
from flytekit.deck import DeckField

from tasks import machines
from tasks.machines import Machine

ALL = [value for value in vars(machines).values() if isinstance(value, Machine)]


@pytest.mark.parametrize("machine", ALL)
def test_no_deck_lists_the_installed_packages(machine: Machine) -> None:
    """Flyte would run pip twice after each such task, which takes seconds and says nothing new."""
    fields = machine.options()["deck_fields"]
    assert DeckField.DEPENDENCIES not in fields
    assert DeckField.TIMELINE in fields
