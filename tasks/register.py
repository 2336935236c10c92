"""Registration: one MLflow run and one model version per execution, however often it is tried."""

import json
from pathlib import Path

from flytekit import task

from stores import registry, tracking
from stores.settings import Settings
from tasks.machines import LIGHT
from tasks.records import Evaluated, Priced, Registered, Run, Trained
from tasks.retrying import retried_by_flyte


@task(**LIGHT.options())
def register_model(run: Run, trained: Trained, evaluated: Evaluated, priced: Priced) -> Registered:
    """Completes the MLflow run and makes the packed model a version; both exist once."""
    settings = Settings.from_environment()
    report = Path(evaluated.report.download())
    package = Path(evaluated.package.download())
    with retried_by_flyte():
        tracking.log_final(
            settings,
            run.tracking_run,
            metrics=evaluation_metrics(report),
            tags={
                "oppen.status": status_of(trained),
                "oppen.decision": evaluated.reason,
                **package_tags(package),
            },
        )
        tracking.log_artifacts(settings, run.tracking_run, report, "report")
        tracking.log_artifacts(settings, run.tracking_run, Path(priced.bill.download()), "bill")
        if trained.checkpoint is not None:
            checkpoint = Path(trained.checkpoint.download())
            tracking.log_artifacts(settings, run.tracking_run, checkpoint, "checkpoint")
        version = registry.register_version(
            settings,
            name=run.model_name,
            run_id=run.tracking_run,
            execution=run.execution,
            folder=package / "model",
            tags={
                "oppen.execution": run.execution,
                "oppen.commit": run.commit,
                "oppen.total_cost_usd": priced.total_cost_usd,
                "oppen.status": status_of(trained),
                **package_tags(package),
            },
        )
    return Registered(name=version.name, version=version.version, url=version.url)


def status_of(trained: Trained) -> str:
    """How training ended, for people: "completed" or "stopped: budget"."""
    return f"stopped: {trained.stop_reason}" if trained.stop_reason else trained.status


def evaluation_metrics(report: Path) -> dict[str, float]:
    """The numbers of `metrics.json` in a report folder."""
    values: dict[str, float] = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    return values


def package_tags(package: Path) -> dict[str, str]:
    """The tags that a package brings along in `tags.json`."""
    values: dict[str, str] = json.loads((package / "tags.json").read_text(encoding="utf-8"))
    return values
