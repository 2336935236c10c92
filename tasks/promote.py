"""Promotion: aliases move last, and only to a version whose upload was verified and reloaded."""

from flytekit import task

from stores import registry, tracking
from stores.settings import Settings
from tasks.machines import LIGHT
from tasks.records import Evaluated, Outcome, Priced, Registered, Run, Stored, Summary, Trained
from tasks.register import status_of
from tasks.retrying import retried_by_flyte

CHALLENGER, CHAMPION = "challenger", "champion"


@task(**LIGHT.options())
def promote_model(
    run: Run,
    trained: Trained,
    evaluated: Evaluated,
    priced: Priced,
    registered: Registered,
    stored: Stored,
    reload_difference: float,
) -> Outcome:
    """Points `challenger` at the version, and `champion` if the gate passed; ends the run.

    A run that was stopped keeps its version without an alias: it is not what was asked for.
    """
    settings = Settings.from_environment()
    aliases = []
    if trained.status == "completed":
        aliases = [CHALLENGER, CHAMPION] if evaluated.promote else [CHALLENGER]
    with retried_by_flyte():
        for alias in aliases:
            registry.set_alias(settings, registered.name, alias, registered.version)
        tracking.log_final(
            settings,
            run.tracking_run,
            metrics={"reload_difference": reload_difference},
            tags={
                "oppen.artifact": stored.uri,
                "oppen.manifest_sha256": stored.manifest_sha256,
                "oppen.alias": "+".join(aliases),
            },
        )
        tracking.finish_run(settings, run.tracking_run)
    summary = Summary(
        status=status_of(trained),
        model=f"{registered.name}/{registered.version}",
        alias="+".join(aliases),
        decision=evaluated.reason,
        quality=evaluated.quality,
        total_cost_usd=priced.total_cost_usd,
        stored=stored.uri,
        tracking_url=run.tracking_url,
    )
    print(described(summary, run, priced, registered))
    return Outcome(summary=summary)


def described(summary: Summary, run: Run, priced: Priced, registered: Registered) -> str:
    """The summary as lines for a terminal or a pod's log, with the addresses to look at."""
    lines = {
        "execution": run.execution,
        "status": summary.status,
        "gate": summary.decision,
        "cost": (
            f"{priced.total_cost_usd} USD for {priced.duration_seconds:,.1f} s of training "
            f"in {priced.attempts} attempt{'' if priced.attempts == 1 else 's'}"
        ),
        "model": f"{summary.model} ({summary.alias.replace('+', ', ') or 'no alias'})",
        "registry": registered.url,
        "run": summary.tracking_url,
        "artifact": f"{summary.stored} (read back, hashes equal)",
    }
    return "\n".join(f"{name:>10}  {text}" for name, text in lines.items())
