"""The bill of a run: every attempt, by the rates in force at each minute of it."""

import json

from flytekit import Deck, task
from flytekit.types.file import FlyteFile

from accounting.bill_html import bill_html
from accounting.rates import RateCard
from stores.settings import Settings
from tasks.attempt import write_bill
from tasks.execution import working_folder
from tasks.machines import LIGHT
from tasks.records import Priced, Run, Trained
from tasks.retrying import retried_by_flyte


@task(enable_deck=True, **LIGHT.options())
def price_run(run: Run, trained: Trained) -> Priced:  # noqa: ARG001 - it waits for the training
    """Bills every attempt of the run, also the killed ones, and writes the bill to MLflow."""
    settings = Settings.from_environment()
    card = RateCard.load(settings.rates_path)
    with retried_by_flyte():
        total = write_bill(settings, run.tracking_run, card)
    path = working_folder("bill") / "bill.json"
    path.write_text(json.dumps(total.to_json(), indent=2) + "\n", encoding="utf-8")
    Deck("Bill", bill_html(total))
    return Priced(
        bill=FlyteFile(str(path)),
        total_cost_usd=str(total.total_cost_usd),
        duration_seconds=float(total.duration_seconds),
        attempts=len(total.attempts),
    )
