"""The rate card: what a unit of each resource costs, in force from which date, in which band."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

from accounting.quantities import instant
from accounting.tariff import Band, Tariff
from accounting.usage import ResourceKind, Resources, Utilisation, known_accelerator


class RatesError(ValueError):
    """A question that a rate card has no answer for."""


@dataclass(frozen=True, kw_only=True)
class Quote:
    """One number of the card with where it was read and when."""

    field: str
    """Name of the price in the card."""

    amount: Decimal
    """The number as it was typed, in the card's currency where it is money."""

    source: str
    """Who says so."""

    date: date
    """When they said so."""


@dataclass(frozen=True, kw_only=True)
class UnitRate:
    """USD per unit and hour. `busy` and `idle` follow the tariff's bands, `fixed` does not.

    A price from a list is the same busy or idle. Owned hardware draws less power when idle, and its
    write-off goes on through the night at full price.
    """

    busy: Fraction
    """What a unit at work costs, before the band's multiplier."""

    idle: Fraction
    """What a unit held but not at work costs, before the band's multiplier."""

    fixed: Fraction = Fraction(0)
    """What a unit costs on top in every band."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """One version of the card."""

    effective: date
    """First local date on which it is in force."""

    core: UnitRate
    """One CPU core."""

    memory_gib: UnitRate
    """One GiB of memory."""

    storage_gib: UnitRate
    """One GiB of disk; neither bands nor spot nor priority change it."""

    gpus: Mapping[str, UnitRate]
    """One GPU, by accelerator."""

    tariff: Tariff
    """The bands."""

    spot: Fraction
    """Factor on what runs on spot capacity."""

    priorities: Mapping[str, Fraction]
    """Factor of each priority."""

    quotes: tuple[Quote, ...]
    """The numbers behind the rates, for people to check."""

    def unit(self, resource: ResourceKind, gpu_type: str = "generic") -> UnitRate:
        """Finds the rate of a resource.

        Raises:
            RatesError: The accelerator is not in the card.
        """
        if resource != "gpu":
            return {"cpu": self.core, "memory": self.memory_gib, "storage": self.storage_gib}[
                resource
            ]
        name = known_accelerator(gpu_type, self.gpus)
        if name is None:
            raise RatesError(
                f"gpu_type is {gpu_type!r}, which the rates effective {self.effective} do not "
                f"price; use one of {', '.join(sorted(self.gpus)) or '-'} or add it to the card"
            )
        return self.gpus[name]

    def knows(self, gpu_type: str) -> bool:
        """Says whether an accelerator has a price."""
        return known_accelerator(gpu_type, self.gpus) is not None

    def factor(self, *, spot: bool, priority: str) -> Fraction:
        """Multiplies what spot and priority make of the price.

        Raises:
            RatesError: The priority is not in the card.
        """
        if priority not in self.priorities:
            raise RatesError(
                f"priority is {priority!r}; use one of {', '.join(self.priorities)} "
                "or add it to the card"
            )
        return self.priorities[priority] * (self.spot if spot else 1)


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of time in which no price changes."""

    start: datetime
    """First instant, in UTC."""

    end: datetime
    """First instant after it, in UTC."""

    rates: Rates
    """The version in force."""

    band: Band
    """The band in force."""


@dataclass(frozen=True, kw_only=True)
class RateCard:
    """All versions of the rates, in order of their dates."""

    zone: ZoneInfo
    """Time zone of bands and effective dates."""

    currency: str
    """Currency that the card's numbers are written in; everything here is USD already."""

    versions: tuple[Rates, ...]
    """At least one version; each is in force until the next begins."""

    name: str = "embedded"
    """Where the card came from."""

    content: str = field(default="", repr=False)
    """Canonical JSON of what the file says, free of comments and layout."""

    @classmethod
    def load(cls, path: Path | str | None = None) -> "RateCard":
        """Reads a card from a YAML file, or the embedded default.

        Raises:
            RateCardError: The file is missing, or one of its fields makes no sense; the message
                names line and field.
        """
        from accounting.ratecard import read_card

        return read_card(None if path is None else Path(path))

    @cached_property
    def digest(self) -> str:
        """Identifies what the card says: 64 hexadecimal digits of SHA-256."""
        return hashlib.sha256(self.content.encode()).hexdigest()

    @cached_property
    def _begins(self) -> tuple[datetime, ...]:
        return tuple(
            datetime.combine(rates.effective, time.min, tzinfo=self.zone).astimezone(UTC)
            for rates in self.versions
        )

    def rates_at(self, moment: datetime) -> Rates:
        """Finds the version in force at an instant.

        Raises:
            RatesError: The instant lies before the first version.
        """
        moment = instant(moment, field="moment")
        for begin, rates in zip(reversed(self._begins), reversed(self.versions), strict=True):
            if begin <= moment:
                return rates
        raise self._too_early(moment)

    def band_at(self, moment: datetime) -> Band:
        """Finds the band in force at an instant."""
        return self.rates_at(moment).tariff.band_at(moment)

    def spans(self, start: datetime, end: datetime) -> Iterator[Span]:
        """Cuts `start` to `end` (aware) wherever a price changes: at bands, dates, clock changes.

        Raises:
            RatesError: `start` lies before the first version.
        """
        start, end = instant(start, field="start"), instant(end, field="end")
        if start < self._begins[0]:
            raise self._too_early(start)
        ends = (*self._begins[1:], None)
        for begin, until, rates in zip(self._begins, ends, self.versions, strict=True):
            low = max(start, begin)
            high = end if until is None else min(end, until)
            if low < high:
                for left, right, band in rates.tariff.segments(low, high):
                    yield Span(start=left, end=right, rates=rates, band=band)

    def usd_per_hour(
        self,
        resources: Resources,
        *,
        at: datetime,
        spot: bool = False,
        priority: str = "normal",
        utilisation: Utilisation | None = None,
    ) -> Fraction:
        """Prices one hour of resources at the rates of an instant, unrounded."""
        span = Span(start=at, end=at, rates=self.rates_at(at), band=self.band_at(at))
        return hourly_usd(span, resources, spot=spot, priority=priority, utilisation=utilisation)

    def _too_early(self, moment: datetime) -> RatesError:
        return RatesError(
            f"no rates are in force at {moment.isoformat()}; the card's first version is effective "
            f"{self.versions[0].effective}, so give it an earlier date"
        )


def unit_usd(
    span: Span, resource: ResourceKind, *, gpu_type: str, spot: bool, priority: str
) -> tuple[Fraction, Fraction]:
    """Prices one busy and one idle unit of a resource for an hour within a span."""
    rate = span.rates.unit(resource, gpu_type)
    factor = span.rates.factor(spot=spot, priority=priority)
    if resource == "storage":
        return rate.busy + rate.fixed, rate.idle + rate.fixed
    return (
        (rate.busy * span.band.multiplier + rate.fixed) * factor,
        (rate.idle * span.band.multiplier + rate.fixed) * factor,
    )


def hourly_usd(
    span: Span,
    resources: Resources,
    *,
    spot: bool = False,
    priority: str = "normal",
    utilisation: Utilisation | None = None,
) -> Fraction:
    """Prices one hour of resources within a span, unrounded."""
    total = Fraction(0)
    for demand in resources.demands(utilisation):
        busy, idle = unit_usd(
            span, demand.resource, gpu_type=resources.gpu_type, spot=spot, priority=priority
        )
        total += demand.busy * busy + demand.idle * idle
    return total
