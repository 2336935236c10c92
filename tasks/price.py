"""The bill of a run: every attempt, by the rates in force at each minute of it."""

import json

from flytekit import Deck, task
from flytekit.types.file import FlyteFile

from accounting.bill import bill
from accounting.bill_html import bill_html
from accounting.rates import RateCard
from accounting.run_record import COST_TAG, cost_tag
from stores import tracking
from stores.settings import Settings
from tasks.attempt import attempts_of, ended
from tasks.execution import working_folder
from tasks.machines import LIGHT
from tasks.records import Priced, Run, Trained


@task(enable_deck=True, **LIGHT.options())
def price_run(run: Run, trained: Trained) -> Priced:  # noqa: ARG001 - it waits for the training
    """Bills every attempt of the run, also the killed ones, and writes the bill to MLflow."""
    settings = Settings.from_environment()
    card = RateCard.load(settings.rates_path)
    attempts = [ended(attempt) for attempt in attempts_of(settings, run.tracking_run)]
    total = bill(attempts, card)
    tracking.log_final(
        settings,
        run.tracking_run,
        metrics=total.metrics(),
        tags={COST_TAG: cost_tag(total), "oppen.purchase": "+".join(total.by_purchase)},
    )
    path = working_folder("bill") / "bill.json"
    path.write_text(json.dumps(total.to_json(), indent=2) + "\n", encoding="utf-8")
    Deck("Bill", bill_html(total))
    return Priced(
        bill=FlyteFile(str(path)),
        total_cost_usd=str(total.total_cost_usd),
        duration_seconds=float(total.duration_seconds),
        attempts=len(attempts),
    )
