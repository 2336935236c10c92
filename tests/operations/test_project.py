"""This project's own workflows, registered on a control plane and launched from it by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from admin_server import AdminServer
from admin_service import ACTIVE

from operations.exits import Exit

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_project_registers_and_its_pipelines_launch_by_name(
    server: AdminServer, oppen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the code declares, a launch can give: terms, configuration fields, schedules."""
    monkeypatch.chdir(ROOT)
    done = oppen("register", "--version", "v1", "--activate", "--json")
    assert done.exit_code == Exit.OK, done.output
    record = json.loads(done.stdout)
    assert "workflows.mnist.mnist_pipeline" in record["workflows"]
    assert set(record["active"].values()) == {"v1"}
    active = {name for (name, _), p in server.admin.plans.items() if p.closure.state == ACTIVE}
    assert active == set(record["active"])

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

    for plan in record["active"]:
        done = oppen("launch", plan, "--dry-run", "--json")
        assert done.exit_code == Exit.OK, done.output
