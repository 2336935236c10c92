"""Exact numbers and instants: the one place where values enter accounting and money leaves it.

Amounts are `Decimal` at both borders and `Fraction` in between, because a price per hour times a
time in microseconds has no finite decimal form. Nothing is rounded before `rounded_usd`.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MICROSECONDS_PER_SECOND = 1_000_000
MICROSECONDS_PER_HOUR = 3_600_000_000
HOURS_PER_MONTH = 730
"""A twelfth of 8,760 hours: what one GiB-month buys, whatever the length of the month."""

USD_PLACES = 6
"""Money leaves accounting in millionths of a dollar."""


def exact(value: object, *, field: str, minimum: int | None = 0) -> Decimal:
    """Reads a number without losing digits; a float counts as the decimal it prints as.

    Raises:
        ValueError: `value` is no finite number or lies below `minimum`.

    >>> exact(0.1, field="cores")
    Decimal('0.1')
    """
    number: Decimal | None = None
    if not isinstance(value, bool) and isinstance(value, Decimal | int | float | str):
        whole_float = isinstance(value, float) and value.is_integer()
        try:
            number = Decimal(int(value)) if whole_float else Decimal(str(value))
        except InvalidOperation:
            number = None
    if number is None or not number.is_finite():
        raise ValueError(f"{field} is {value!r}; give a number such as 4 or 0.5")
    if minimum is not None and number < minimum:
        raise ValueError(f"{field} is {value}; give a number of at least {minimum}")
    return number


def exact_or_none(value: object, *, field: str) -> Decimal | None:
    """Reads a number that may be absent."""
    return None if value is None else exact(value, field=field)


def whole(value: object, *, field: str, minimum: int) -> int:
    """Reads a whole number.

    Raises:
        ValueError: `value` is no whole number or lies below `minimum`.
    """
    number = exact(value, field=field, minimum=minimum)
    if number != number.to_integral_value():
        raise ValueError(f"{field} is {value}; give a whole number of at least {minimum}")
    return int(number)


def instant(value: object, *, field: str) -> datetime:
    """Reads an aware datetime, or its ISO-8601 text, and gives it back in UTC.

    Raises:
        ValueError: `value` is no time, or one without an offset from UTC.

    >>> instant("2026-03-01T22:00:00+01:00", field="start").isoformat()
    '2026-03-01T21:00:00+00:00'
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if not isinstance(moment, datetime):
        raise ValueError(  # noqa: TRY004 - user input, read from text or JSON
            f"{field} is {value!r}; give a time such as 2026-03-01T22:00:00+00:00"
        )
    if moment.utcoffset() is None:
        raise ValueError(
            f"{field} is {moment.isoformat()} without a time zone; add its offset, such as +00:00"
        )
    return moment.astimezone(UTC)


def instant_or_none(value: object, *, field: str) -> datetime | None:
    """Reads an aware datetime that may be absent."""
    return None if value is None else instant(value, field=field)


def microseconds(moment: datetime) -> int:
    """Counts the microseconds from 1970 to an aware datetime, exactly."""
    return (moment - EPOCH) // MICROSECOND


def hours(start: datetime, end: datetime) -> Fraction:
    """Measures the real time between two aware datetimes in hours, exactly."""
    return Fraction((end - start) // MICROSECOND, MICROSECONDS_PER_HOUR)


def rounded_usd(amount: Fraction) -> Decimal:
    """Rounds money to millionths of a dollar, halves to even.

    >>> rounded_usd(Fraction(2, 3))
    Decimal('0.666667')
    """
    return Decimal(round(amount * 10**USD_PLACES)).scaleb(-USD_PLACES)
