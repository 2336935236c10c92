"""Reports: totals that equal the sum of runs, every output, and configurations compared."""

import csv
import doctest
import io
import json
import random
import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting import figures, report_text
from accounting import report as report_module
from accounting.bill import bill
from accounting.compare import Comparison, compare
from accounting.job import Job
from accounting.pareto import pareto_front
from accounting.plan import plan
from accounting.plan_picture import front_svg
from accounting.preemption import Preemption
from accounting.rates import RateCard
from accounting.report import DIMENSIONS, Report, month, quarter, report
from accounting.report_html import to_html
from accounting.report_text import to_csv, to_json, to_records, to_table
from accounting.run_record import COST_TAG, RunRecord, cost_tag
from accounting.usage import Attempt, Resources

BERLIN = ZoneInfo("Europe/Berlin")
JANUARY = datetime(2026, 1, 5, 8, tzinfo=UTC)
CENTS = st.integers(0, 10**9).map(lambda n: Decimal(n).scaleb(-6))


def make_runs(count: int, *, seed: int = 0) -> list[RunRecord]:
    """Runs of half a year over a few experiments, with exact odd amounts."""
    draw = random.Random(seed)
    runs = []
    for i in range(count):
        start = JANUARY + timedelta(minutes=draw.randrange(180 * 24 * 60))
        usd = Decimal(draw.randrange(1, 5_000_000)).scaleb(-6)
        night = Decimal(draw.randrange(int(usd * 10**6) + 1)).scaleb(-6)
        runs.append(
            RunRecord(
                run_id=f"run-{i}",
                start=start,
                end=start + timedelta(seconds=draw.randrange(10, 9000)),
                usd=usd,
                lost_usd=round(usd / 10, 6) if i % 3 == 0 else Decimal(0),
                idle_usd=round(usd / 7, 6),
                experiment=draw.choice(["mnist", "language", "agent"]),
                agent=draw.choice(["agent-sre", ""]),
                model=draw.choice(["cnn", "distilgpt2", "gemma"]),
                priority=draw.choice(["normal", "urgent", "background"]),
                by_band={"off-peak": night, "peak": usd - night},
                by_purchase={draw.choice(["spot", "on-demand"]): usd},
                tags={"team": draw.choice(["a", "b"])},
                params={"batch": draw.choice(["32", "64", "128"])},
                metrics={"accuracy": draw.uniform(0.9, 0.99)},
            )
        )
    return runs


RUNS = make_runs(300)


def test_doctests_hold() -> None:
    """The examples in the docstrings are true."""
    for module in (figures, report_module, report_text):
        assert doctest.testmod(module).failed == 0


def test_every_dimension_and_the_trend_add_up_to_the_runs_exactly() -> None:
    """Total, periods and each group equal the sum of the runs' decimals, to the last digit."""
    found = report(RUNS, by=(*DIMENSIONS, "tag:team", "param:batch"))
    expected = sum(run.usd for run in RUNS)
    assert found.total.usd == expected
    assert sum(row.usd for row in found.periods) == expected
    for rows in found.groups.values():
        assert sum(row.usd for row in rows) == expected
    for rows in (found.periods, found.groups["experiment"], found.groups["tag:team"]):
        assert sum(row.runs for row in rows) == len(RUNS)
        assert sum(row.lost_usd or 0 for row in rows) == sum(run.lost_usd for run in RUNS)
        assert sum(row.seconds or 0 for row in rows) == sum(run.seconds for run in RUNS)


@given(st.lists(st.tuples(CENTS, CENTS, st.integers(0, 500)), min_size=1, max_size=20))
def test_totals_hold_for_any_amounts(amounts: list[tuple[Decimal, Decimal, int]]) -> None:
    """Whatever the runs cost and however little of it they split, nothing appears or vanishes."""
    runs = [
        RunRecord(
            run_id=str(i),
            start=JANUARY + timedelta(days=day),
            end=JANUARY + timedelta(days=day, hours=1),
            usd=usd + part,
            by_band={"night": part},
        )
        for i, (usd, part, day) in enumerate(amounts)
    ]
    found = report(runs, by=("band", "model"), period="quarter")
    expected = sum(run.usd for run in runs)
    assert found.total.usd == expected == sum(row.usd for row in found.groups["band"])
    assert sum(row.usd for row in found.periods) == expected


def test_runs_belong_to_the_month_in_which_they_began_on_the_wall() -> None:
    """Half past midnight in Berlin on 1 March is still February in UTC."""
    run = RunRecord(
        run_id="a",
        start=datetime(2026, 2, 28, 23, 30, tzinfo=UTC),
        end=datetime(2026, 3, 1, 2, tzinfo=UTC),
        usd=Decimal(1),
    )
    assert [row.name for row in report([run], zone=BERLIN).periods] == ["2026-03"]
    assert [row.name for row in report([run]).periods] == ["2026-02"]
    start, end = month(2026, 3, BERLIN)
    assert report([run], start=start, end=end, zone=BERLIN).total.runs == 1
    assert (
        report([run], start=start, end=end + timedelta(days=40), zone=BERLIN).periods[1].runs == 0
    )


def test_quarters_and_any_range() -> None:
    """A quarter holds its three months; a range takes just what began in it."""
    start, end = quarter(2026, 1, ZoneInfo("UTC"))
    first = report(RUNS, start=start, end=end, period="quarter")
    months = report(RUNS, start=start, end=end)
    assert [row.name for row in first.periods] == ["2026-Q1"]
    assert [row.name for row in months.periods] == ["2026-01", "2026-02", "2026-03"]
    assert first.total.usd == sum(row.usd for row in months.periods)
    week = report(RUNS, start=JANUARY, end=JANUARY + timedelta(days=7))
    inside = [run for run in RUNS if JANUARY <= run.start < JANUARY + timedelta(days=7)]
    assert week.total.usd == sum(run.usd for run in inside)


def test_shares_averages_and_changes() -> None:
    """Average, lost share, idle share and growth follow from the sums."""
    runs = [
        RunRecord(
            run_id=str(i),
            start=JANUARY + timedelta(days=31 * i),
            end=JANUARY + timedelta(days=31 * i, hours=1),
            usd=usd,
            lost_usd=usd / 4,
            idle_usd=usd / 2,
        )
        for i, usd in enumerate([Decimal(2), Decimal(3)])
    ]
    found = report(runs)
    assert found.total.average_usd == Decimal("2.5")
    assert (found.total.lost_share, found.total.idle_share) == (0.25, 0.5)
    assert [found.change(0), found.change(1)] == [None, 0.5]


def test_a_run_is_read_from_the_tags_of_a_tracking_server() -> None:
    """The exact cost travels in one tag; times may be MLflow's milliseconds."""
    attempt = Attempt(
        task="train",
        number=0,
        start=JANUARY,
        end=JANUARY + timedelta(hours=1),
        resources=Resources(cores=4, gpus=1),
        outcome="killed",
    )
    found = bill([attempt], RateCard.load())
    record = {
        "run_id": "r1",
        "experiment": "mnist",
        "start": int(JANUARY.timestamp() * 1000),
        "end": (JANUARY + timedelta(hours=1)).isoformat(),
        "tags": {
            COST_TAG: cost_tag(found),
            "oppen.model": "cnn",
            "mlflow.user": "x",
            "team": "a",
        },
        "metrics": {"accuracy": 0.99},
        "params": {"lr": "0.1"},
    }
    run = RunRecord.from_mapping(record)
    assert (run.usd, run.lost_usd) == (found.total_cost_usd, found.lost_cost_usd)
    assert run.by_band == found.by_band
    assert (run.model, run.value("tag:team"), run.value("param:lr")) == ("cnn", "a", "0.1")
    assert run.tags == {"team": "a"}
    assert (run.start, run.seconds) == (JANUARY, 3600)


def test_a_run_without_the_tag_is_read_from_its_metrics() -> None:
    """The metrics of the bill suffice; what they do not split is shown as unallocated."""
    record = {
        "run_id": "r1",
        "start": JANUARY,
        "end": JANUARY,
        "metrics": {"total_cost_usd": 0.3, "lost_cost_usd": 0.1},
    }
    run = RunRecord.from_mapping(record)
    assert (run.usd, run.lost_usd) == (Decimal("0.3"), Decimal("0.1"))
    assert report([run]).groups["band"][0].name == "(unallocated)"


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"metrics": {}}, "neither the tag oppen.cost nor the metric"),
        ({"tags": {COST_TAG: "[1]"}}, "no JSON object"),
        ({"start": None}, "start of run r1 is None"),
        ({"end": JANUARY - timedelta(hours=1)}, "before its start"),
        ({"metrics": {"total_cost_usd": 1, "idle_cost_usd": 2}}, "more than its cost"),
        ({"metrics": {"total_cost_usd": float("nan")}}, "total_usd is nan"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(changes: dict[str, object], names: str) -> None:
    """A bad record is refused with one line that names the run or the field."""
    record = {"run_id": "r1", "start": JANUARY, "end": JANUARY, "metrics": {"total_cost_usd": 1}}
    with pytest.raises(ValueError, match=names) as caught:
        RunRecord.from_mapping({**record, **changes})
    assert "\n" not in str(caught.value)


def test_bad_questions_are_refused() -> None:
    """Unknown dimensions, doubled runs, empty and backward ranges are named."""
    with pytest.raises(ValueError, match="by is 'colour'"):
        report(RUNS, by=("colour",))
    with pytest.raises(ValueError, match="run run-0 is given twice"):
        report([*RUNS, RUNS[0]])
    with pytest.raises(ValueError, match="runs is empty"):
        report([])
    with pytest.raises(ValueError, match="not after start"):
        report(RUNS, start=JANUARY, end=JANUARY)
    start, end = month(2030, 1, BERLIN)
    assert report([], start=start, end=end).total.usd == 0


def test_csv_and_json_carry_exact_amounts() -> None:
    """Both outputs sum to the total by decimal arithmetic on their text."""
    found = report(RUNS)
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    for dimension in ("experiment", "month", "band"):
        part = [Decimal(row["usd"]) for row in rows if row["dimension"] == dimension]
        assert sum(part) == found.total.usd
    content = json.loads(to_json(found))
    assert Decimal(content["total"]["usd"]) == found.total.usd
    assert sum(Decimal(row["usd"]) for row in content["periods"]) == found.total.usd
    assert len(content["groups"]) == len(DIMENSIONS)
    assert len(to_records(found)) == len(rows)


def test_the_table_is_aligned_and_names_the_range() -> None:
    """Every block has the same columns; the first line says what is shown."""
    text = to_table(report(RUNS, zone=BERLIN))
    lines = text.splitlines()
    assert lines[0].startswith("Cost from 2026-01-01 00:00 CET")
    heads = [line.index("USD/run") for line in lines if "USD/run" in line]
    assert len(heads) == 2 + len(DIMENSIONS)
    assert len(set(heads)) == 1


class Outline(HTMLParser):
    """Collects what a page refers to and checks that its elements close in order."""

    VOID = ("meta", "br", "line", "rect", "circle", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens an element."""
        self.tags.append(tag)
        self.references += [v or "" for k, v in attrs if k in {"src", "href"} or k[:2] == "on"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Closes the element that was opened last."""
        if tag not in self.VOID:
            assert self.open.pop() == tag


def some_comparison() -> Comparison:
    """A comparison of the runs by batch size."""
    return compare(RUNS, by=("param:batch",), metric="accuracy")


def test_the_page_needs_nothing_else_and_escapes_names() -> None:
    """No script, no link, no remote address; names of users cannot inject markup."""
    evil = RunRecord(
        run_id="<script>alert(1)</script>",
        start=JANUARY,
        end=JANUARY,
        usd=Decimal(99),
        experiment='<img src=x onerror="alert(1)">',
    )
    page = to_html(report([*RUNS, evil]), comparison=some_comparison())
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.references == []
    assert not {"script", "img", "link"} & set(outline.tags)
    assert outline.tags.count("svg") == 2
    assert re.findall(r"https?://\S+?[\"']", page) == ['http://www.w3.org/2000/svg"'] * 2
    assert "prefers-color-scheme:dark" in page


def test_a_page_without_runs_is_still_a_page() -> None:
    """An empty month draws an empty chart instead of failing."""
    start, end = month(2026, 2, BERLIN)
    page = to_html(report([], start=start, end=end, zone=BERLIN))
    assert "0.00 USD" in page
    assert "2026-02" in page


def test_configurations_are_compared_by_dominance() -> None:
    """What costs more and is no better is named with what beats it."""
    figures_ = {"a": ("1", 0.90), "b": ("2", 0.95), "c": ("3", 0.94), "d": ("2", 0.80)}
    runs = [
        RunRecord(
            run_id=name,
            start=JANUARY,
            end=JANUARY,
            usd=Decimal(usd),
            params={"config": name},
            metrics={"accuracy": quality, "loss": 1 - quality},
        )
        for name, (usd, quality) in figures_.items()
    ]
    for metric, higher in (("accuracy", True), ("loss", False)):
        found = compare(runs, by=("param:config",), metric=metric, higher_is_better=higher)
        beaten = {c.name: c.dominated_by for c in found.configurations}
        assert beaten == {
            "config=a": None,
            "config=b": None,
            "config=c": "config=b",
            "config=d": "config=a",
        }
    with pytest.raises(ValueError, match="no run has"):
        compare(runs, by=("param:config",), metric="bleu")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_of_a_comparison_is_the_pareto_front(pairs: list[tuple[int, int]]) -> None:
    """Dominance by definition and the front of costs and qualities agree."""
    runs = [
        RunRecord(
            run_id=str(i),
            start=JANUARY,
            end=JANUARY,
            usd=Decimal(usd),
            params={"config": str(i)},
            metrics={"q": float(quality)},
        )
        for i, (usd, quality) in enumerate(pairs)
    ]
    front = compare(runs, by=("param:config",), metric="q").front
    expected = pareto_front([(usd, -q) for usd, q in pairs], key=lambda pair: pair)
    assert {(int(c.average_usd), -int(c.quality)) for c in front} == set(expected)


def test_ten_thousand_runs_take_seconds() -> None:
    """Reading, adding up and writing the page of 10,000 runs stays far below five seconds."""
    many = make_runs(10_000, seed=1)
    begin = time.perf_counter()
    found: Report = report(many, by=(*DIMENSIONS, "tag:team"))
    to_html(found)
    assert time.perf_counter() - begin < 5
    assert found.total.usd == sum(run.usd for run in many)


def test_the_picture_of_a_plan_is_a_self_contained_svg() -> None:
    """It parses, has a mark for each option of the front, and names the choices."""
    noon = datetime(2026, 3, 4, 12, tzinfo=UTC)
    job = Job(steps=3600, step_seconds=1.0, resources=Resources(cores=4, gpus=1))
    spot = Preemption(per_hour=0.1, checkpoint_seconds=600, restart_seconds=60)
    found = plan(job, card=RateCard.load(), now=noon, preemption=spot)
    picture = front_svg(found, zone=BERLIN)
    root = ET.fromstring(picture)  # noqa: S314 - our own text
    marks = [e for e in root.iter() if e.tag.endswith(("circle", "rect")) and "class" in e.attrib]
    assert len(marks) >= len(found.front) + 2
    assert "tonight" in picture
    assert "href" not in picture
