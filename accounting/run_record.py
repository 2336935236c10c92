"""One finished run as a report sees it, however the store keeps it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self

from accounting.bill import Bill
from accounting.quantities import MICROSECONDS_PER_SECOND, exact, instant, microseconds

COST_TAG = "oppen.cost"
"""Tag that holds the exact cost of a run as JSON; see `cost_tag`."""

UNKNOWN = "(none)"
"""What a report calls a run that lacks the thing it is grouped by."""
UNALLOCATED = "(unallocated)"
"""What a report calls money that a run did not split over bands or purchase modes."""

NO_MONEY = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a report needs to know of a run. Money is exact and adds up to the report's totals."""

    run_id: str
    """Identity in the store."""
    start: datetime
    """When it began, in UTC; a run belongs to the period in which it began."""
    end: datetime
    """When it ended, in UTC."""
    usd: Decimal
    """What it cost in all."""
    lost_usd: Decimal = NO_MONEY
    """Part of `usd` that paid for lost work."""
    idle_usd: Decimal = NO_MONEY
    """Part of `usd` that paid for idle resources."""
    experiment: str = ""
    """Experiment it belongs to."""
    agent: str = ""
    """Agent it trained, if any."""
    model: str = ""
    """Model it trained."""
    priority: str = ""
    """Priority it was billed by."""
    by_band: Mapping[str, Decimal] = field(default_factory=dict)
    """`usd` by band of the tariff."""
    by_purchase: Mapping[str, Decimal] = field(default_factory=dict)
    """`usd` by purchase mode."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags that users set."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the run."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Last values of its metrics."""

    def __post_init__(self) -> None:
        """Refuses times without a zone, negative durations and parts larger than the whole."""
        for name in ("start", "end"):
            object.__setattr__(self, name, instant(getattr(self, name), field=name))
        if self.end < self.start:
            raise ValueError(
                f"end of run {self.run_id} is {self.end.isoformat()}, before its start "
                f"{self.start.isoformat()}; a duration cannot be negative"
            )
        for name in ("usd", "lost_usd", "idle_usd"):
            exact(getattr(self, name), field=f"{name} of run {self.run_id}")
        for name in ("lost_usd", "idle_usd"):
            if getattr(self, name) > self.usd:
                raise ValueError(
                    f"{name} of run {self.run_id} is {getattr(self, name)}, more than its cost "
                    f"{self.usd}; it must be a part of it"
                )

    @property
    def seconds(self) -> Decimal:
        """Wall seconds from start to end, to the microsecond."""
        length = microseconds(self.end) - microseconds(self.start)
        return Decimal(length) / MICROSECONDS_PER_SECOND

    def value(self, dimension: str) -> str:
        """Tells where the run belongs in a dimension that does not split its money.

        Dimensions are experiment, agent, model, priority, `tag:NAME` and `param:NAME`.

        Raises:
            ValueError: there is no such dimension.
        """
        kind, _, name = dimension.partition(":")
        if name and kind in {"tag", "param"}:
            return (self.tags if kind == "tag" else self.params).get(name) or UNKNOWN
        if dimension not in {"experiment", "agent", "model", "priority"}:
            raise ValueError(
                f"by is {dimension!r}; use experiment, agent, model, priority, band, purchase, "
                "tag:NAME or param:NAME"
            )
        return str(getattr(self, dimension)) or UNKNOWN

    def parts(self, dimension: str) -> Mapping[str, Decimal]:
        """Splits the run's money by "band" or "purchase"; the parts add up to `usd`."""
        parts = dict(self.by_band if dimension == "band" else self.by_purchase)
        rest = self.usd - sum(parts.values(), NO_MONEY)
        if rest:
            parts[UNALLOCATED] = parts.get(UNALLOCATED, NO_MONEY) + rest
        return parts

    @classmethod
    def from_mapping(cls, record: Mapping[str, Any]) -> Self:
        """Reads a run as a tracking server keeps it.

        Keys: run_id, experiment, start and end (datetime, ISO text, or milliseconds since 1970),
        tags, params, metrics. The tags `oppen.agent`, `oppen.model` and `oppen.priority` say what
        it was, `oppen.cost` what it cost (see `cost_tag`). Without that tag the metrics
        total_cost_usd, lost_cost_usd and idle_cost_usd do, and the tag `oppen.purchase`. All other
        tags but MLflow's own are the user's.

        Raises:
            ValueError: the run has no start, no end or no cost, or one of them makes no sense.
        """
        run_id = str(record.get("run_id", ""))
        tags = dict(record.get("tags") or {})
        metrics = dict(record.get("metrics") or {})
        cost = _cost(run_id, tags, metrics)
        return cls(
            run_id=run_id,
            start=_moment(record.get("start"), field=f"start of run {run_id}"),
            end=_moment(record.get("end"), field=f"end of run {run_id}"),
            experiment=str(record.get("experiment") or ""),
            agent=tags.get("oppen.agent", ""),
            model=tags.get("oppen.model", ""),
            priority=tags.get("oppen.priority", ""),
            usd=_money(cost, "total_usd"),
            lost_usd=_money(cost, "lost_usd"),
            idle_usd=_money(cost, "idle_usd"),
            by_band=_split(cost, "by_band"),
            by_purchase=_split(cost, "by_purchase"),
            tags={
                name: value
                for name, value in tags.items()
                if not name.startswith(("oppen.", "mlflow."))
            },
            params=dict(record.get("params") or {}),
            metrics=metrics,
        )


def cost_tag(bill: Bill) -> str:
    """Writes what a report needs of a bill as JSON, exact, for the tag `oppen.cost`."""
    return json.dumps(
        {
            "total_usd": str(bill.total_cost_usd),
            "lost_usd": str(bill.lost_cost_usd),
            "idle_usd": str(bill.idle_cost_usd),
            "by_band": {name: str(usd) for name, usd in bill.by_band.items()},
            "by_purchase": {name: str(usd) for name, usd in bill.by_purchase.items()},
        },
        separators=(",", ":"),
    )


def _cost(run_id: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> Mapping[str, Any]:
    if COST_TAG in tags:
        try:
            found = json.loads(tags[COST_TAG])
        except json.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise ValueError(
                f"tag {COST_TAG} of run {run_id} is no JSON object; write it with cost_tag"
            )
        return found
    if "total_cost_usd" not in metrics:
        raise ValueError(
            f"run {run_id} has neither the tag {COST_TAG} nor the metric total_cost_usd; "
            "leave it out or bill it"
        )
    purchase = tags.get("oppen.purchase")
    return {
        "total_usd": metrics["total_cost_usd"],
        "lost_usd": metrics.get("lost_cost_usd", 0),
        "idle_usd": metrics.get("idle_cost_usd", 0),
        "by_purchase": {purchase: metrics["total_cost_usd"]} if purchase else {},
    }


def _money(cost: Mapping[str, Any], name: str) -> Decimal:
    return exact(cost.get(name, 0), field=name)


def _split(cost: Mapping[str, Any], name: str) -> dict[str, Decimal]:
    return {str(key): exact(usd, field=name) for key, usd in (cost.get(name) or {}).items()}


def _moment(value: object, *, field: str) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000, UTC)
    return instant(value, field=field)
