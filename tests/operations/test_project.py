"""This project's own workflows, registered on a control plane and launched from it by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from admin_server import AdminServer

from operations import registration
from operations.exits import Exit
from operations.local import FOLDERS
from operations.remote import connect

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_project_registers_and_its_pipelines_launch_by_name(
    server: AdminServer, config: Path, oppen: Callable[..., Any]
) -> None:
    """What the code declares, a launch can give: terms, configuration fields, schedules."""
    flyte = connect(config=config, project=None, domain=None)
    images = registration.images("registry.example/oppen", "v1", {})
    place = {"config": config, "version": "v1", "images": images, "folders": FOLDERS}
    registration.register(ROOT, flyte, **place)
    plans = {name for name, _ in server.admin.plans}
    assert "workflows.mnist.mnist_pipeline" in plans

    given = ("--purchase", "spot", "--priority", "urgent", "--budget-usd", "9", "--deadline", "9h")
    fields = ("-i", "config.epochs=2", "-i", "dataset=s3://data/images")
    done = oppen("launch", "mnist_pipeline", *given, *fields, "--seconds", "60", "--json")
    assert done.exit_code == Exit.OK, done.output
    (request,) = server.admin.received("CreateExecution")
    assert request.spec.interruptible.value is True
    sent = json.loads(done.stdout)
    assert sent["inputs"]["priority"] == "urgent"
    assert sent["inputs"]["budget_usd"] == 9
    assert sent["inputs"]["deadline"].endswith("+00:00")
    assert float(sent["expected_usd"]) > 0

    for plan in (name for name in plans if not name.startswith("workflows.")):
        done = oppen("launch", plan, "--dry-run", "--json")
        assert done.exit_code == Exit.OK, done.output
