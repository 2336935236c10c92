"""The first task of every pipeline: on what terms it runs."""

from flytekit import task

from accounting.rates import RateCard
from stores.settings import Settings
from tasks.machines import LIGHT
from tasks.opening import check_terms, find_stopped
from tasks.records import Terms


@task(**LIGHT.options())
def agree_terms(
    budget_usd: float | None,
    over_budget: str,
    deadline: str,
    priority: str,
    purchase: str,
    resume_from: str,
    checkpoint_seconds: float,
) -> Terms:
    """Refuses terms that cannot be kept before anything is fetched, prepared or priced.

    Raises:
        ValueError: A term is not what it should be, or there is no execution to resume.
        SettingsError: An address or a key is missing.
    """
    terms = Terms(
        budget_usd=budget_usd,
        over_budget=over_budget,
        deadline=deadline,
        priority=priority,
        purchase=purchase,
        resume_from=resume_from,
        checkpoint_seconds=checkpoint_seconds,
    )
    settings = Settings.from_environment()
    settings.object_store()
    check_terms(terms, RateCard.load(settings.rates_path))
    if resume_from:
        find_stopped(settings, resume_from)
    return terms
