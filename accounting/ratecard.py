"""From the fields of a YAML file to a `RateCard`: which fields there are, and what they mean."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from accounting.quantities import HOURS_PER_MONTH
from accounting.ratefile import Field, RateCardError, plain, read_window, read_yaml
from accounting.rates import Quote, RateCard, Rates, UnitRate
from accounting.tariff import Band, Tariff, TariffError
from accounting.usage import accelerator_name

EMBEDDED = Path(__file__).with_name("rates.yaml")
VERSION = ("effective", "prices", "owned", "bands", "spot", "priority", "usd_per_unit")
PRICED = {
    "core_hour": "core",
    "memory_gib_hour": "memory_gib",
    "storage_gib_month": "storage_gib",
    "gpu_hour": "gpu",
}
OWNED = ("electricity", "core", "memory_gib", "gpu")
MACHINE = ("idle_watts", "busy_watts", "write_off_per_hour")
FREE = UnitRate(busy=Fraction(0), idle=Fraction(0))
NEUTRAL_PRIORITIES = {name: Fraction(1) for name in ("urgent", "normal", "background")}


def read_card(path: Path | None) -> RateCard:
    """Reads a card from a file, or the embedded one.

    Raises:
        RateCardError: The file cannot be read, or a field makes no sense.
    """
    source = EMBEDDED if path is None else path
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RateCardError(
            f"{source}: the rate card cannot be read ({error.__class__.__name__}); "
            "name an existing YAML file in OPPEN_RATES or --rates"
        ) from error
    return parse_card(text, name="embedded" if path is None else str(path), file=source.name)


def parse_card(text: str, *, name: str, file: str) -> RateCard:
    """Reads a card from the text of a YAML file; `file` is what complaints call it.

    Raises:
        RateCardError: A field makes no sense.
    """
    root = read_yaml(text, file=file)
    card = root.fields(required=("currency", "timezone", "versions"))
    zone = card["timezone"].parsed(_zone)
    currency = card["currency"].parsed(_currency)
    versions: list[Rates] = []
    draft = Draft(zone=zone, currency=currency)
    for field in card["versions"].items():
        draft = draft.changed(field)
        rates = draft.rates(field)
        if versions and rates.effective <= versions[-1].effective:
            raise effective_field(field).error(
                f"is {rates.effective}, not after the version before it; sort versions by date"
            )
        versions.append(rates)
    return RateCard(
        zone=zone,
        currency=currency,
        versions=tuple(versions),
        name=name,
        content=json.dumps(plain(root.node), sort_keys=True, separators=(",", ":")),
    )


@dataclass(frozen=True, kw_only=True)
class UnitSource:
    """Where the rate of a resource comes from."""

    field: Field
    """The price, or the owned hardware."""

    owned: bool
    """Whether it is hardware."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The fields in force so far: a version states only what it changes."""

    zone: ZoneInfo
    """Time zone of the card."""

    currency: str
    """Currency of the card."""

    units: Mapping[str, UnitSource] = dataclass_field(default_factory=dict)
    """Sources by resource: core, memory_gib, storage_gib, and gpu.NAME for each accelerator."""

    electricity: Field | None = None
    """Price of a kilowatt-hour."""

    bands: Field | None = None
    """The tariff."""

    spot: Field | None = None
    """Factor for spot capacity."""

    priority: Field | None = None
    """Factors of the priorities."""

    usd_per_unit: Field | None = None
    """What the currency is worth."""

    def changed(self, version: Field) -> "Draft":
        """Lays a version over the ones before it, resource by resource.

        Raises:
            RateCardError: A field is unknown, or a resource is both priced and owned.
        """
        given = version.fields(required=("effective",), optional=VERSION)
        owned = given["owned"].fields(optional=OWNED) if "owned" in given else {}
        return replace(
            self,
            units={**self.units, **_units(given.get("prices"), owned)},
            electricity=owned.get("electricity", self.electricity),
            bands=given.get("bands", self.bands),
            spot=given.get("spot", self.spot),
            priority=given.get("priority", self.priority),
            usd_per_unit=given.get("usd_per_unit", self.usd_per_unit),
        )

    def rates(self, version: Field) -> Rates:
        """Turns the fields in force into rates.

        Raises:
            RateCardError: There is no price for cores, or a field makes no sense.
        """
        quotes: list[Quote] = []
        usd = self._usd(version, quotes)
        kwh = self._kwh(usd, quotes)
        if "core" not in self.units:
            raise version.error("prices no core; add prices.core_hour or owned.core")
        found = {
            name: _machine(source.field, kwh=kwh, usd=usd, quotes=quotes)
            if source.owned
            else _price(source.field, usd=usd, quotes=quotes)
            for name, source in self.units.items()
        }
        storage = found.get("storage_gib", FREE)
        return Rates(
            effective=effective_field(version).day(),
            core=found["core"],
            memory_gib=found.get("memory_gib", FREE),
            storage_gib=UnitRate(
                busy=storage.busy / HOURS_PER_MONTH, idle=storage.idle / HOURS_PER_MONTH
            ),
            gpus={
                name.removeprefix("gpu."): rate
                for name, rate in found.items()
                if name.startswith("gpu.")
            },
            tariff=self._tariff(version),
            spot=Fraction(1) if self.spot is None else Fraction(self.spot.number()),
            priorities=self._priorities(),
            quotes=tuple(quotes),
        )

    def _usd(self, version: Field, quotes: list[Quote]) -> Fraction:
        """Reads how many dollars one unit of the card's currency is."""
        if self.currency == "USD":
            if self.usd_per_unit is not None:
                raise self.usd_per_unit.error("is of no use in a card in USD; remove it")
            return Fraction(1)
        if self.usd_per_unit is None:
            raise version.error(
                f"has no usd_per_unit, and bills are in USD; add what one {self.currency} is worth"
            )
        return Fraction(_quote(self.usd_per_unit, "price", quotes, positive=True))

    def _kwh(self, usd: Fraction, quotes: list[Quote]) -> Fraction | None:
        """Reads the price of a kilowatt-hour in dollars."""
        if self.electricity is None:
            return None
        return Fraction(_quote(self.electricity, "per_kwh", quotes)) * usd

    def _tariff(self, version: Field) -> Tariff:
        if self.bands is None:
            raise version.error("has no bands; add at least one with `when: otherwise`")
        try:
            return Tariff(zone=self.zone, bands=tuple(_band(field) for field in self.bands.items()))
        except TariffError as error:
            raise RateCardError(
                f"{self.bands.file}:{self.bands.node.start_mark.line + 1}: "
                f"{self.bands.path}: {error}"
            ) from error

    def _priorities(self) -> Mapping[str, Fraction]:
        if self.priority is None:
            return NEUTRAL_PRIORITIES
        found = self.priority.entries()
        if "normal" not in found:
            raise self.priority.error("has no normal; add it, usually as 1")
        return {name: Fraction(field.number()) for name, field in found.items()}


def _band(field: Field) -> Band:
    entries = field.fields(required=("name", "multiplier", "when"))
    when = entries["when"]
    if when.is_text and when.text() == "otherwise":
        windows = None
    else:
        windows = tuple(read_window(item) for item in when.items())
    return Band(
        name=entries["name"].text(),
        multiplier=Fraction(entries["multiplier"].number()),
        windows=windows,
    )


def effective_field(version: Field) -> Field:
    """Finds the date of a version."""
    return version.fields(required=("effective",), optional=VERSION)["effective"]


def _units(prices: Field | None, owned: Mapping[str, Field]) -> dict[str, UnitSource]:
    """Gathers the resources that one version prices, and refuses those that it also owns."""
    priced = prices.fields(optional=PRICED) if prices is not None else {}
    found = {
        name: UnitSource(field=field, owned=False)
        for name, field in _flat({PRICED[name]: field for name, field in priced.items()}).items()
    }
    hardware = _flat({name: field for name, field in owned.items() if name != "electricity"})
    for name, field in hardware.items():
        if name in found:
            path = found[name].field.path
            raise field.error(f"is also priced by {path}; keep one of them")
        found[name] = UnitSource(field=field, owned=True)
    return found


def _flat(fields: Mapping[str, Field]) -> dict[str, Field]:
    """Spreads the accelerators under `gpu` out to one name each."""
    found: dict[str, Field] = {}
    for name, field in fields.items():
        if name == "gpu":
            found |= {f"gpu.{accelerator_name(gpu)}": one for gpu, one in field.entries().items()}
        else:
            found[name] = field
    return found


def _quote(field: Field, name: str, quotes: list[Quote], *, positive: bool = False) -> Decimal:
    """Reads one sourced number and keeps it for people to check."""
    entries = field.fields(required=(name, "source", "date"))
    amount = entries[name].number(positive=positive)
    quotes.append(
        Quote(
            field=entries[name].path.removesuffix(".price"),
            amount=amount,
            source=entries["source"].text(),
            date=entries["date"].day(),
        )
    )
    return amount


def _price(field: Field, *, usd: Fraction, quotes: list[Quote]) -> UnitRate:
    amount = Fraction(_quote(field, "price", quotes)) * usd
    return UnitRate(busy=amount, idle=amount)


def _machine(field: Field, *, kwh: Fraction | None, usd: Fraction, quotes: list[Quote]) -> UnitRate:
    """Reads owned hardware: electricity follows the bands, the write-off does not."""
    if kwh is None:
        raise field.error("needs owned.electricity.per_kwh; add it")
    entries = field.fields(required=(*MACHINE, "source", "date"))
    source, day = entries["source"].text(), entries["date"].day()
    amounts = {name: entries[name].number() for name in MACHINE}
    if amounts["idle_watts"] > amounts["busy_watts"]:
        raise entries["idle_watts"].error("is above busy_watts; give at most as much")
    quotes.extend(
        Quote(field=entries[name].path, amount=amount, source=source, date=day)
        for name, amount in amounts.items()
    )
    return UnitRate(
        busy=Fraction(amounts["busy_watts"]) / 1000 * kwh,
        idle=Fraction(amounts["idle_watts"]) / 1000 * kwh,
        fixed=Fraction(amounts["write_off_per_hour"]) * usd,
    )


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("give an IANA time zone such as Europe/Berlin or UTC") from error


def _currency(text: str) -> str:
    if len(text) != 3 or not text.isalpha() or not text.isupper():
        raise ValueError("give an ISO 4217 code such as USD or EUR")
    return text
