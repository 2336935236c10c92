"""`agent_training_pipeline`, killed in mid-tuning and started again, to the commit in git."""

import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from stores import artifacts, registry
from stores.settings import Settings
from stores.tracking import find_run
from tasks.publish import PUBLISHED_TAG, make_repository
from tasks.records import Summary
from tests.e2e.agents import TINY_BASE, section, write_agent
from tests.e2e.runs import ROOT, objects_of, start, versions_of
from training.agent_base import SmallBase

AGENT, EXECUTION = "agent-e2e", "e2e-agent"
STEPS = 24
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
START_SECONDS = 240


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one agent."""
    folder = tmp_path_factory.mktemp("agents")
    write_agent(folder, AGENT, iters=STEPS, exports="safetensors, mlx, ollama")
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository with a branch."""
    folder = tmp_path_factory.mktemp("git") / "agents.git"
    make_repository(folder)
    return folder


@pytest.fixture(scope="module")
def published(
    settings: Settings,  # noqa: ARG001 - the servers run
    variables: dict[str, str],
    here: pytest.MonkeyPatch,
    home: Path,
    agents: Path,
    repository: Path,
) -> Summary:
    """What became of a run that was killed in mid-tuning and started again."""
    from workflows.agent import agent_training_pipeline

    environment = {**variables, "OPPEN_EXECUTION_ID": EXECUTION}
    inputs = {
        "agent_name": AGENT,
        "agents": str(agents),
        "git_repository": str(repository),
        "checkpoint_seconds": 0.01,
    }
    log = home / "log"
    killed = start(
        *("workflows/agent.py", "agent_training_pipeline"),
        variables=environment,
        log=log,
        small_base=TINY_BASE,
        **inputs,
    )
    wait_for_checkpoint(home / "tmp" / "oppen" / "checkpoints" / EXECUTION, killed, log)
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    here.setenv("OPPEN_EXECUTION_ID", EXECUTION)
    summary: Summary = agent_training_pipeline(small_base=SmallBase(**TINY_BASE), **inputs).summary
    return summary


def test_a_killed_run_ends_as_if_nothing_had_happened(
    published: Summary, settings: Settings, home: Path, agents: Path, tmp_path: Path
) -> None:
    """The adapter is that of a run without a kill, bit for bit; one run, one version, two bills."""
    assert (published.status, published.alias) == ("completed", "challenger+champion")
    tracked = find_run(settings, execution=EXECUTION)
    attempts = [
        json.loads(tracked.tags[f"oppen.attempt.train.{number:03d}"])["outcome"]
        for number in (0, 1)
    ]
    assert attempts == ["running", "succeeded"]
    assert len(versions_of(settings, AGENT)) == 1
    stored = artifacts.verify_version(settings, tracked.tags["oppen.artifact"])
    files = {entry.path: entry.sha256 for entry in stored.files}
    assert files["model/adapter_model.safetensors"] == uninterrupted_adapter(home, agents, tmp_path)
    assert not (home / "tmp" / "oppen" / "checkpoints" / EXECUTION).exists()


@pytest.mark.usefixtures("published")
def test_the_version_holds_what_loads_it(settings: Settings, tmp_path: Path) -> None:
    """Adapter, base, data set and prompts are registered; S3 has the exports beside them."""
    version = registry.champion(settings, AGENT)
    assert version is not None
    assert version.tags["oppen.dataset"].startswith("g")
    assert version.metrics["exact_call_accuracy"] >= 0
    assert "base/exact_call_accuracy" in version.metrics
    folder = registry.fetch_model(settings, AGENT, "@champion", tmp_path / "model")
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    wanted = {"adapter_model.safetensors", "base.json", "dataset.json", "probe/prompts.json"}
    assert wanted | {"base/model.safetensors", "tokenizer.json"} <= names

    tracked = find_run(settings, execution=EXECUTION)
    name = tracked.tags["oppen.artifact"].rpartition("/")[2]
    assert name.startswith(f"{AGENT}-functiongemma-20")
    prefix = f"{AGENT}/small-gemma/{name}/"
    stored = {path.removeprefix(prefix) for path in objects_of(settings, AGENT)}
    files = {"safetensors/model.safetensors", "mlx/model.safetensors", "ollama/Modelfile"}
    assert {f"exports/{file}" for file in files} <= stored


@pytest.mark.usefixtures("published")
def test_the_version_is_published_once(
    here: pytest.MonkeyPatch, settings: Settings, agents: Path, repository: Path
) -> None:
    """The commit names metrics and address; a second run of the same agent publishes nothing."""
    from workflows.agent import agent_training_pipeline

    before = commits(repository)
    artifact = find_run(settings, execution=EXECUTION).tags["oppen.artifact"]
    said = git(repository, "log", "-1", "--format=%B", "main")
    assert artifact in said
    assert "exact_call_accuracy: " in said
    line = git(repository, "show", f"main:agents/{AGENT}/MODEL_VERSION")
    assert artifact.endswith(line.removeprefix("v"))

    here.setenv("OPPEN_EXECUTION_ID", f"{EXECUTION}-again")
    again: Summary = agent_training_pipeline(
        agent_name=AGENT,
        agents=str(agents),
        small_base=SmallBase(**TINY_BASE),
        git_repository=str(repository),
    ).summary
    assert again.status.startswith("skipped: nothing changed: ")
    assert again.published == f"nothing: {line} is in force"
    assert commits(repository) == before
    assert len(versions_of(settings, AGENT)) == 1


def test_a_champion_that_a_killed_run_left_unpublished_is_published(
    published: Summary,
    here: pytest.MonkeyPatch,
    settings: Settings,
    agents: Path,
    tmp_path: Path,
) -> None:
    """The next run trains nothing, and commits the version that was promoted before the kill."""
    from workflows.agent import agent_training_pipeline

    make_repository(tmp_path / "agents.git")
    client = MlflowClient(settings.mlflow_tracking_uri)
    client.delete_model_version_tag(AGENT, published.model.rpartition("/")[2], PUBLISHED_TAG)

    here.setenv("OPPEN_EXECUTION_ID", f"{EXECUTION}-mended")
    again: Summary = agent_training_pipeline(
        agent_name=AGENT,
        agents=str(agents),
        small_base=SmallBase(**TINY_BASE),
        git_repository=str(tmp_path / "agents.git"),
    ).summary

    assert again.status.startswith("skipped: nothing changed: ")
    line = git(tmp_path / "agents.git", "show", f"main:agents/{AGENT}/MODEL_VERSION")
    artifact = find_run(settings, execution=EXECUTION).tags["oppen.artifact"]
    assert artifact.endswith(line.removeprefix("v"))
    assert line in again.published
    version = registry.champion(settings, AGENT)
    assert version is not None
    assert version.tags[PUBLISHED_TAG] == line


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("days_ago", "status"),
    [(0, f"skipped: {AGENT}/1 makes "), (1, "skipped: stale: fired ")],
)
def test_the_weekly_run_trains_nothing_without_need(
    here: pytest.MonkeyPatch, settings: Settings, agents: Path, days_ago: int, status: str
) -> None:
    """A champion that meets its thresholds stays; a slot that fires late does not look at all."""
    from workflows.agent import weekly_retraining

    here.setenv("OPPEN_EXECUTION_ID", f"{EXECUTION}-weekly-{days_ago}")
    summary: Summary = weekly_retraining(
        kickoff_time=datetime.now(UTC) - timedelta(days=days_ago),
        agent_name=AGENT,
        agents=str(agents),
        max_multiplier=10.0,
    ).summary
    assert summary.status.startswith(status)
    assert len(versions_of(settings, AGENT)) == 1


@pytest.mark.usefixtures("published", "here")
def test_retraining_follows_the_runbook(agents: Path) -> None:
    """A champion that meets its thresholds stays, until an alert is added."""
    from tasks.agent_data import locate_agent, prepare_agent
    from tasks.agent_records import AgentOverrides
    from tasks.retrain import Need, check_model_performance

    def need(*, force: bool = False) -> Need:
        located = locate_agent(
            agent_name=AGENT,
            agents=str(agents),
            model_name=None,
            runbook_path=None,
            learning_rate=None,
            batch_size=None,
            iters=None,
            overrides=AgentOverrides(),
            git_repository="",
        )
        data = prepare_agent(source=located.source)
        checked: Need = check_model_performance(
            data=data, config=located.config, force_retrain=force
        )
        return checked

    calm = need()
    assert not calm.is_needed
    assert "nothing differs" in calm.reason
    with (agents / AGENT / "RUNBOOK.md").open("a", encoding="utf-8") as runbook:
        runbook.write(section("MemoryFull", "redis-cli bgsave"))
    drifted = need(force=True)
    assert drifted.is_needed
    assert drifted.reason == "it is forced; 1 alert added (MemoryFull)"


def wait_for_checkpoint(folder: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Returns when a checkpoint from the middle of the tuning lies there."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        steps = [int(path.name.split("-")[1]) for path in folder.glob("step-*.safetensors")]
        if any(3 <= step < STEPS - 3 for step in steps):
            return
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint within {START_SECONDS} s: {log.read_text()[-3000:]}")


def uninterrupted_adapter(home: Path, agents: Path, folder: Path) -> str:
    """The hash of the adapter that the same settings give without a kill."""
    import hashlib

    import torch

    from training.agent_config import read_training
    from training.agent_tuning import save_agent, tune_agent

    (data,) = (home / "local" / "prepared" / "agents").glob(f"{AGENT}-*/data")
    (base,) = (home / "local" / "prepared" / "bases").glob("small-gemma-*")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model, tokenizer, _ = tune_agent(
        read_training(agents / AGENT), data, base, identity={}, checkpoint_folder=folder / "points"
    )
    torch.set_num_threads(threads)
    save_agent(model, tokenizer, folder / "model", base=base, name="small-gemma", revision="")
    weights = (folder / "model" / "adapter_model.safetensors").read_bytes()
    return hashlib.sha256(weights).hexdigest()


def commits(repository: Path) -> int:
    """The number of commits on the branch."""
    return int(git(repository, "rev-list", "--count", "main"))


def git(repository: Path, *arguments: str) -> str:
    """Asks git in a repository."""
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout.strip()
