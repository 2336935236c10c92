"""`oppen cost`: answers, JSON, exit codes and speed, without a server."""

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from accounting.ratecard import EMBEDDED
from operations.cost import cost_app

Cost = Callable[..., Result]
NOON = "2026-03-04T12:00+00:00"
EXAMPLE = ("--cores", "4", "--gpus", "1", "--seconds", "213.4", "--start", NOON)
RECORD = {
    "task": "train",
    "number": 0,
    "start": "2026-03-04T12:00:00+00:00",
    "end": "2026-03-04T13:00:00+00:00",
    "resources": {"cores": "4", "gpus": "1"},
    "outcome": "killed",
    "last_checkpoint": "2026-03-04T12:30:00+00:00",
    "utilisation": {"gpu_busy": "0.5"},
}


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch) -> Cost:
    """Runs `oppen cost` in this process, with the embedded card unless told otherwise."""
    monkeypatch.delenv("OPPEN_RATES", raising=False)
    runner = CliRunner()

    def run(*words: str, text: str | None = None) -> Result:
        return runner.invoke(cost_app, list(words), input=text)

    return run


def complaint(result: Result, code: int = 2) -> str:
    """Gives the one line on standard error of a command that was refused."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    line = result.stderr.strip()
    assert "\n" not in line
    assert line.startswith("oppen: ")
    return line


def test_estimate_prices_the_reference_example(cost: Cost) -> None:
    """The figures of the example, as JSON and as a table."""
    content = json.loads(cost("estimate", *EXAMPLE, "--json").stdout)
    assert content["total_cost_usd"] == "0.026675"
    assert content["cpu_cost_usd"] == "0.011856"
    assert content["gpu_cost_usd"] == "0.014819"
    assert content["duration_seconds"] == "213.4"
    table = cost("estimate", *EXAMPLE).stdout
    assert "0.026675" in table
    assert "213.4 s" in table


def test_estimate_crosses_bands(cost: Cost) -> None:
    """Ten spot hours from 18:00 are four at peak and six off-peak."""
    content = json.loads(
        cost(
            "estimate", "--cores", "4", "--gpus", "1", "--hours", "10",
            "--start", "2026-03-04T19:00+01:00", "--spot", "--json",
        ).stdout
    )  # fmt: skip
    assert content["by_band"] == {"peak": "0.540000", "off-peak": "0.405000"}
    assert content["by_purchase"] == {"spot": "0.945000"}


def test_estimate_tells_a_script_that_the_budget_does_not_suffice(cost: Cost) -> None:
    """Exit code 4, with the first start that would fit."""
    hour = ("--cores", "4", "--gpus", "1", "--hours", "1", "--start", NOON)
    line = complaint(cost("estimate", *hour, "--budget-usd", "0.3", "--json"), code=4)
    assert "budget_usd is 0.3, but expected 0.450000 USD" in line
    assert "start it at 2026-03-04 22:00 UTC" in line
    late = cost("estimate", *hour, "--deadline", "2026-03-04T12:30+00:00")
    assert "deadline is 2026-03-04 12:30 UTC" in complaint(late, code=4)
    fits = cost("estimate", *hour, "--budget-usd", "0.9")
    assert fits.exit_code == 0
    assert "50.0% of the budget of 0.9 USD" in fits.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hours", "1", "--gpus", "1", "--gpu-type", "b300"], "gpu_type is 'b300'"),
        (["--hours", "1", "--start", "2026-03-04T12:00"], "--start is .* without a time zone"),
        (["--hours", "1", "--start", "noon"], "--start is 'noon'; give a time"),
        (["--hours", "-1"], "--hours is -1"),
        (["--cores", "-4", "--hours", "1"], "--cores is -4"),
        (["--hours", "1", "--priority", "asap"], "priority is 'asap'"),
        (["--hours", "1", "--nodes", "0"], "nodes is 0"),
        (["--hours", "1", "--seconds", "1"], "give the duration once"),
        ([], "give the duration once"),
        (["--hours", "1", "--rates", "missing.yaml"], "missing.yaml: the rate card cannot be read"),
    ],
)
def test_estimate_refuses_what_makes_no_sense(cost: Cost, words: list[str], message: str) -> None:
    """One line on standard error and exit code 2."""
    result = cost("estimate", *words)
    assert re.search(message, complaint(result))


@pytest.mark.parametrize("form", ["list", "lines", "object", "one"])
def test_bill_reads_attempts_in_every_form(cost: Cost, tmp_path: Path, form: str) -> None:
    """A JSON list, JSON lines, the JSON form of a bill, or one attempt alone."""
    again = {**RECORD, "number": 1}
    text = {
        "list": json.dumps([RECORD, again]),
        "lines": f"{json.dumps(RECORD)}\n{json.dumps(again)}\n",
        "object": json.dumps({"attempts": [RECORD, again]}),
        "one": json.dumps(RECORD),
    }[form]
    (tmp_path / "attempts.json").write_text(text)
    content = json.loads(cost("bill", str(tmp_path / "attempts.json"), "--json").stdout)
    count = 1 if form == "one" else 2
    assert float(content["total_cost_usd"]) == pytest.approx(0.45 * count)
    assert float(content["lost_cost_usd"]) == pytest.approx(0.225 * count)
    assert float(content["idle_cost_usd"]) == pytest.approx(0.125 * count)


def test_a_bill_can_be_billed_again_from_standard_input(cost: Cost) -> None:
    """What one command prints as JSON the next one reads."""
    first = cost("estimate", *EXAMPLE, "--json").stdout
    second = json.loads(cost("bill", "-", "--json", text=first).stdout)
    assert second["total_cost_usd"] == "0.026675"


def test_bill_shows_lost_and_idle_lines_and_surprises(cost: Cost) -> None:
    """The table names what was lost, what idled, and what was bought otherwise than asked."""
    asked = {**RECORD, "asked": "spot"}
    shown = cost("bill", "-", text=json.dumps([asked])).stdout
    assert "of which lost work: 0.225000 USD" in shown
    assert "of which idle: 0.125000 USD" in shown
    assert "train#0 was asked spot, but ran on-demand" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "- is no JSON"),
        (json.dumps([RECORD, RECORD]), "attempt train#0 is given 2 times"),
        (json.dumps([{**RECORD, "end": "2026-03-04T13:00:00"}]), "-: attempt 0: end is"),
        (json.dumps([{**RECORD, "colour": 1}]), "attempt has the unknown field 'colour'"),
        (json.dumps([3]), "attempt is 3; give an object"),
    ],
)
def test_bill_refuses_bad_records(cost: Cost, text: str, message: str) -> None:
    """The line names the attempt and the field."""
    assert message in complaint(cost("bill", "-", text=text))


def test_bill_names_a_missing_file(cost: Cost) -> None:
    """A wrong path is one line."""
    assert "nowhere.json cannot be read" in complaint(cost("bill", "nowhere.json"))


STEPS = [9.0, 4.0] + [1 + (step * 7919 % 23 - 11) / 50 for step in range(60)]
MACHINE = ("--cores", "4", "--gpus", "1", "--start", NOON)


@pytest.mark.parametrize("form", ["lines", "list"])
def test_forecast_reads_step_times_and_prices_what_is_left(cost: Cost, form: str) -> None:
    """Time and cost come with intervals around them, warm-up is left out."""
    text = "\n".join(map(str, STEPS)) if form == "lines" else json.dumps(STEPS)
    words = ("forecast", "-", "--remaining-steps", "3600", *MACHINE)
    content = json.loads(cost(*words, "--json", text=text).stdout)
    usd = {name: float(amount) for name, amount in content["usd"].items()}
    assert usd["low"] < usd["expected"] < usd["high"]
    assert usd["expected"] == pytest.approx(0.45, rel=0.15)
    assert content["dropped_steps"] == 2
    assert content["fits"] is None
    assert "95% interval" in cost(*words, text=text).stdout


def test_forecast_tells_a_script_that_a_run_cannot_fit(cost: Cost) -> None:
    """0 where it surely fits or is open, 4 where even the lower end does not; both answer."""
    text = json.dumps(STEPS)
    words = ("forecast", "-", "--remaining-steps", "3600", *MACHINE, "--json", "--budget-usd")
    assert json.loads(cost(*words, "9", text=text).stdout)["fits"] is True
    assert json.loads(cost(*words, "0.45", text=text).stdout)["fits"] is None
    short = cost(*words, "0.1", text=text)
    assert short.exit_code == 4
    assert json.loads(short.stdout)["fits"] is False


def test_forecast_can_rest_on_a_stated_time(cost: Cost) -> None:
    """Without any measurement the answer says that it has none."""
    words = ("forecast", "--remaining-steps", "100", "--step-seconds", "2", *MACHINE, "--json")
    content = json.loads(cost(*words).stdout)
    assert content["seconds"]["expected"] == 200
    assert "stated, not measured" in content["assumptions"][0]


def test_recommend_computes_savings_from_the_runs_own_data(cost: Cost, tmp_path: Path) -> None:
    """Each field of the file opens a way; what is missing is named."""
    run = {
        "attempts": [RECORD],
        "steps": 1000,
        "step_seconds": 3.0,
        "batch_size": 64,
        "batch_points": [
            {"batch_size": 64, "step_seconds": 3.0},
            {"batch_size": 256, "step_seconds": 6.0},
        ],
        "metric": {"name": "val_loss", "values": [[n * 100, 1 / min(n, 4)] for n in range(1, 11)]},
        "scaling": {"compute_seconds": 3.0, "payload_bytes": 1e6, "network": "1gbe"},
        "preemption": {"per_hour": 0.1, "checkpoint_seconds": 600, "restart_seconds": 60},
        "wait_hours": 24,
    }
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    content = json.loads(cost("recommend", str(path), "--json").stdout)
    savings = {one["strategy"]: one["saving"] for one in content["recommendations"]}
    assert savings["cheaper window"] == pytest.approx(0.5)
    assert 0.6 < savings["spot"] < 0.7
    assert savings["early stopping"] == pytest.approx(1000 * 3 / 3600 * 0.3, abs=0.01)
    assert savings["larger batch"] > 0.3
    assert savings["mixed precision"] is None
    assert 0 < content["combined_saving"] < 1
    shown = cost("recommend", str(path)).stdout
    assert "together (" in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "has no list of attempts"),
        ({"attempts": []}, "attempts is empty"),
        ({"attempts": [RECORD], "colour": 1}, "has the unknown field 'colour'"),
        ({"attempts": [RECORD], "metric": {"name": "loss"}}, "metric cannot be read"),
        ({"attempts": [RECORD], "preemption": {"rate": 1}}, "preemption cannot be read"),
        (
            {"attempts": [RECORD], "scaling": {"network": "wifi"}},
            "network is 'wifi'; use one of 1gbe",
        ),
    ],
)
def test_recommend_refuses_bad_files(cost: Cost, content: dict[str, object], message: str) -> None:
    """One line names the field."""
    assert message in complaint(cost("recommend", "-", text=json.dumps(content)))


def test_plan_finds_the_cheapest_start(cost: Cost) -> None:
    """From Wednesday noon eight hours are cheapest at night, with spot cheapest of all."""
    words = ("plan", "--steps", "9600", "--step-seconds", "3", *MACHINE)
    content = json.loads(cost(*words, "--json").stdout)
    assert content["choices"]["now"]["cost_usd"] == "3.600000"
    assert content["choices"]["tonight"]["start"] == "2026-03-04T22:00:00+00:00"
    assert content["choices"]["tonight"]["cost_usd"] == "1.800000"
    spot = json.loads(cost(*words, "--preemptions-per-hour", "0.05", "--json").stdout)
    assert spot["choices"]["cheapest"]["purchase"] == "spot"
    assert float(spot["choices"]["cheapest"]["cost_usd"]) < 0.6
    shown = cost(*words).stdout
    assert "Cheapest starts" in shown
    assert "tonight" in shown


def test_plan_says_when_more_workers_are_slower(cost: Cost) -> None:
    """All gradients of a language model over 1 GbE cost more time than a second node saves."""
    words = ("plan", "--steps", "100", "--step-seconds", "1", *MACHINE, "--workers", "1")
    content = json.loads(
        cost(*words, "--workers", "2", "--parameters", "82000000", "--json").stdout
    )
    assert any("2 workers are 3.1x slower than one" in note for note in content["assumptions"])
    assert content["choices"]["now"]["workers"] == 1
    missing = cost(*words, "--workers", "2")
    assert "--parameters is missing" in complaint(missing)


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["--budget-usd", "0.1"], "budget_usd is 0.1, below the cheapest option", 4),
        (["--deadline", "2026-03-04T13:00+00:00"], "before the earliest expected end", 4),
        (["--workers", "0"], "workers is 0", 2),
        (["--days", "-1"], "--days is -1", 2),
        (["--workers", "2", "--parameters", "1", "--network", "wifi"], "--network is 'wifi'", 2),
    ],
)
def test_plan_refuses_what_cannot_be(cost: Cost, words: list[str], message: str, code: int) -> None:
    """4 where nothing fits, 2 where the question makes no sense."""
    base = ("plan", "--steps", "9600", "--step-seconds", "3", *MACHINE)
    assert message in complaint(cost(*base, *words), code=code)


def test_rates_shows_what_is_in_force_with_its_sources(cost: Cost) -> None:
    """Band, multiplier and end of the band at a moment; each price with source and date."""
    content = json.loads(cost("rates", "--at", "2026-03-06T23:00+00:00", "--json").stdout)
    assert content["band"] == "off-peak"
    assert content["multiplier"] == "0.5"
    assert content["until"] == "2026-03-09T06:00:00+00:00"
    assert all(price["source"] and price["date"] for price in content["prices"])
    shown = cost("rates", "--at", NOON).stdout
    assert "peak x1 until 2026-03-04T22:00:00+00:00" in shown
    assert "spot x0.3" in shown


def test_the_card_comes_from_the_option_or_the_environment(
    cost: Cost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPPEN_RATES names the card; a broken one is refused with line and field."""
    card = tmp_path / "rates.yaml"
    card.write_text(EMBEDDED.read_text().replace("{price: 0.05,", "{price: 0.10,"))
    words = ("estimate", "--cores", "1", "--hours", "1", "--start", NOON, "--json")
    by_option = json.loads(cost(*words, "--rates", str(card)).stdout)
    assert by_option["total_cost_usd"] == "0.100000"
    monkeypatch.setenv("OPPEN_RATES", str(card))
    assert json.loads(cost(*words).stdout) == by_option
    card.write_text(card.read_text().replace("hours: 22:00-06:00", "hours: late"))
    line = complaint(cost("rates"))
    assert "rates.yaml:" in line
    assert "bands[0].when[0].hours is 'late'" in line


@pytest.mark.parametrize(
    "command", [c.name or c.callback.__name__ for c in cost_app.registered_commands]
)
def test_every_command_has_an_example_exit_codes_and_json(cost: Cost, command: str) -> None:
    """Help shows how to call it and what a script reads from it."""
    shown = " ".join(cost(command, "--help").stdout.split())
    assert f"oppen cost {command}" in shown
    assert "Exit codes: 0" in shown
    assert "--json" in shown


def test_an_answer_takes_less_than_half_a_second_and_loads_no_framework() -> None:
    """The whole command line starts and answers in under 0.5 s of processor time."""
    program = (
        "import sys\n"
        "from operations.cli import app\n"
        "try:\n"
        f"    app(['cost', 'estimate', *{list(EXAMPLE)!r}, '--json'])\n"
        "finally:\n"
        "    heavy = {'torch', 'mlflow', 'flytekit', 'numpy', 'transformers'} & set(sys.modules)\n"
        "    print(sorted(heavy), file=sys.stderr)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPPEN_RATES"}
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.stderr == "[]\n"
        assert json.loads(done.stdout)["total_cost_usd"] == "0.026675"
    assert min(times) < 0.5


def runs_file(folder: Path) -> Path:
    """Writes 12 runs over four months, two of them without a cost or an end."""
    runs = [
        {
            "run_id": f"run{number}",
            "experiment": "mnist" if number % 2 else "agents",
            "start": f"2026-{7 + number // 3:02}-{10 + number:02}T12:00:00+00:00",
            "end": f"2026-{7 + number // 3:02}-{10 + number:02}T13:00:00+00:00",
            "tags": {"oppen.cost": json.dumps({"total_usd": f"0.{number + 1:06}"})},
            "params": {"batch_size": str(64 * (1 + number % 2))},
            "metrics": {"accuracy": 0.9 + number / 1000},
        }
        for number in range(12)
    ]
    runs[10]["end"] = None
    runs[11]["tags"] = {}
    path = folder / "runs.json"
    path.write_text(json.dumps({"runs": runs}))
    return path


def test_report_adds_up_over_any_range(cost: Cost, tmp_path: Path) -> None:
    """A month, a quarter, a range, all of them: totals equal the sum of the runs' costs."""
    words = ("report", "--runs", str(runs_file(tmp_path)), "--json")
    everything = cost(*words)
    assert json.loads(everything.stdout)["total"]["usd"] == "0.000055"
    assert "2 runs without an end or a cost are left out" in everything.stderr
    for change, total in (
        (["--month", "2026-07"], "0.000006"),
        (["--quarter", "2026-Q3"], "0.000045"),
        (["--since", "2026-08-01T00:00+00:00", "--until", "2026-09-01T00:00Z"], "0.000015"),
        (["--month", "2026-08", "--experiment", "mnist"], "0.000010"),
    ):
        assert json.loads(cost(*words, *change).stdout)["total"]["usd"] == total
    grouped = json.loads(cost(*words, "--by", "param:batch_size").stdout)["groups"]
    assert list(grouped) == ["param:batch_size"]


def test_report_writes_table_csv_and_html(cost: Cost, tmp_path: Path) -> None:
    """Each format holds the total; a page goes to the file that was named."""
    words = ("report", "--runs", str(runs_file(tmp_path)))
    assert "Cost from 2026-07-01" in cost(*words).stdout
    assert "0.000055" in cost(*words, "--format", "csv").stdout
    page = tmp_path / "cost.html"
    written = cost(*words, "--format", "html", "--output", str(page))
    assert written.exit_code == 0
    assert f"wrote {page}" in written.stderr
    assert "<svg" in page.read_text()


def test_compare_marks_what_another_configuration_beats(cost: Cost, tmp_path: Path) -> None:
    """Cost against quality, the cheapest first."""
    words = ("compare", "--runs", str(runs_file(tmp_path)), "--metric", "accuracy")
    content = json.loads(cost(*words, "--by", "param:batch_size", "--json").stdout)
    assert [one["name"] for one in content["configurations"]] == [
        "batch_size=64",
        "batch_size=128",
    ]
    shown = cost(*words, "--by", "experiment").stdout
    assert "accuracy (higher is better) against cost" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "--month", "October"], "--month is 'October'; write it like 2026-10"),
        (["report", "--quarter", "2026-Q5"], "--quarter is '2026-Q5'; write it like 2026-Q3"),
        (["report", "--month", "2026-10", "--quarter", "2026-Q3"], "give the range once"),
        (["report", "--format", "pdf"], "--format is 'pdf'; use one of table, csv, json, html"),
        (["report", "--by", "colour"], "by is 'colour'; use experiment"),
        (["compare", "--by", "model", "--metric", "speed"], "metric is 'speed', which no run has"),
    ],
)
def test_history_refuses_what_makes_no_sense(
    cost: Cost, tmp_path: Path, words: list[str], message: str
) -> None:
    """One line on standard error; left-out runs are said before it."""
    result = cost(*words, "--runs", str(runs_file(tmp_path)))
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]


def test_report_needs_an_address_or_a_file(cost: Cost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MLFLOW_TRACKING_URI the line says how to set it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "MLFLOW_TRACKING_URI is not set" in complaint(cost("report"))


def test_plan_draws_its_front(cost: Cost, tmp_path: Path) -> None:
    """The picture is one SVG file; a folder that is not there is one line."""
    picture = tmp_path / "front.svg"
    words = ("plan", "--steps", "9600", "--step-seconds", "3", *MACHINE, "--picture")
    assert cost(*words, str(picture)).exit_code == 0
    assert picture.read_text().startswith("<svg")
    assert "--picture is" in complaint(cost(*words, str(tmp_path / "none" / "front.svg")))
