"""Bounds on numbers that users give: each refusal is one line with name, value and mend."""


def positive(name: str, value: float) -> None:
    """Refuses what is not above 0, NaN included.

    Raises:
        ValueError: names the field, the value and what it wants.
    """
    if not value > 0:
        raise ValueError(f"{name} is {value}; give a number above 0")


def not_negative(name: str, value: float) -> None:
    """Refuses what is below 0, NaN included.

    Raises:
        ValueError: names the field, the value and what it wants.
    """
    if not value >= 0:
        raise ValueError(f"{name} is {value}; give 0 or more")


def at_least_one(name: str, value: int) -> None:
    """Refuses a count below 1.

    Raises:
        ValueError: names the field, the value and what it wants.
    """
    if value < 1:
        raise ValueError(f"{name} is {value}; give 1 or more")


def fraction(name: str, value: float) -> None:
    """Refuses what lies outside 0 to 1, NaN included.

    Raises:
        ValueError: names the field, the value and what it wants.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; give a fraction between 0 and 1")
