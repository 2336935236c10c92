"""An agent's settings and data: the command line over the file, and what is refused early."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.agent_data import (
    LocatedAgent,
    agent_folder,
    flat_overrides,
    locate_agent,
)
from tasks.agent_records import AgentOverrides, LoraOverrides, ThresholdOverrides
from tests.e2e.agents import section, write_agent
from training.agent_config import AgentTraining, read_training


@pytest.fixture
def locate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LocatedAgent]:
    """Locates an agent with three alerts; keyword arguments override."""
    monkeypatch.setenv("OPPEN_LOCAL", str(tmp_path / "local"))
    write_agent(tmp_path / "agents", "agent-x")

    def run(**given: Any) -> LocatedAgent:
        inputs: dict[str, Any] = {
            "agent_name": "agent-x",
            "agents": str(tmp_path / "agents"),
            "model_name": None,
            "runbook_path": None,
            "learning_rate": None,
            "batch_size": None,
            "iters": None,
            "overrides": AgentOverrides(),
            "git_repository": "",
        }
        located: LocatedAgent = locate_agent(**inputs | given)
        return located

    return run


def test_the_command_line_wins_over_the_file(locate: Callable[..., LocatedAgent]) -> None:
    """Inputs and nested overrides win; what is not given is the file's."""
    located = locate(iters=7, overrides=AgentOverrides(lora=LoraOverrides(rank=2), seed=3))
    assert (located.config.iters, located.config.lora.rank, located.config.seed) == (7, 2, 3)
    assert (located.config.lora.alpha, located.config.batch_size) == (8, 8)
    assert located.source.seed == 3


def test_a_cluster_without_a_repository_prepares_nothing(
    locate: Callable[..., LocatedAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be published is refused by the first task."""
    monkeypatch.setenv("FLYTE_INTERNAL_EXECUTION_ID", "abc")
    monkeypatch.delenv("OPPEN_GIT_REPOSITORY", raising=False)
    with pytest.raises(ValueError, match="git_repository is empty; give the repository"):
        locate()
    assert locate(git_repository="https://git.example/a.git").config.agent_name == "agent-x"


def test_every_setting_can_be_overridden() -> None:
    """The overrides have the names of the settings, apart from those that are inputs."""
    inputs = {"agent_name", "model_name", "runbook_path", "learning_rate", "batch_size", "iters"}
    settings = set(AgentTraining.__dataclass_fields__) - inputs - {"schedule"}
    assert set(AgentOverrides.__dataclass_fields__) == settings
    for name, kind in (("lora", LoraOverrides), ("thresholds", ThresholdOverrides)):
        nested = AgentTraining.__dataclass_fields__[name].default_factory
        assert set(kind.__dataclass_fields__) == set(nested.__dataclass_fields__)  # type: ignore[attr-defined]


def test_overrides_that_are_not_given_are_left_out() -> None:
    """None leaves a setting as the file has it."""
    assert flat_overrides(AgentOverrides()) == {}
    given = AgentOverrides(exports=[], thresholds=ThresholdOverrides(false_call_rate=0.1))
    assert flat_overrides(given) == {"exports": [], "thresholds.false_call_rate": 0.1}


def test_the_digest_follows_the_content(
    locate: Callable[..., LocatedAgent], tmp_path: Path
) -> None:
    """A setting of the loop keeps the prepared data; another runbook does not."""
    before = locate().source
    assert locate(learning_rate=1e-4).source == before
    with (tmp_path / "agents" / "agent-x" / "RUNBOOK.md").open("a", encoding="utf-8") as runbook:
        runbook.write(section("DiskFull", "kubectl rollout restart deployment/x -n y"))
    assert locate().source.digest != before.digest


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"agent_name": "agent-y"}, "agent_name is 'agent-y', which has no folder"),
        ({"agent_name": "../agent-x"}, "give the name of a folder"),
        ({"iters": 0}, "command line: iters is 0; give a whole number of at least 1"),
        ({"overrides": AgentOverrides(exports=["gguf"])}, "exports is .*give some of safetensors"),
        ({"runbook_path": "NONE.md"}, "does not exist; give a Markdown file or folder"),
    ],
)
def test_what_cannot_be_used_is_refused(
    locate: Callable[..., LocatedAgent], given: dict[str, Any], message: str
) -> None:
    """A wrong input ends the run in its first task, in one line."""
    with pytest.raises(ValueError, match=message):
        locate(**given)


def test_the_agents_that_come_with_the_code_are_found() -> None:
    """Without an address the project's own folders are used, and each can be read."""
    for name in ("agent-sre", "agent-bruno", "agent-auditor"):
        with agent_folder("", name) as folder:
            assert read_training(folder).agent_name == name
