"""An agent's settings: typed, checked, and taken from the command line before the file."""

from pathlib import Path

import pytest

from training.agent_config import AgentConfigError, AgentTraining, read_training

_AGENTS = Path(__file__).parents[2] / "agents"


def _folder(tmp_path: Path, content: str) -> Path:
    folder = tmp_path / "agent-x"
    folder.mkdir()
    (folder / "training.yaml").write_text(content)
    return folder


def test_defaults_serve_where_nothing_is_said(tmp_path: Path) -> None:
    """An agent's folder without the file, or with an empty mapping, has the defaults."""
    folder = _folder(tmp_path, "{}")
    assert read_training(folder) == AgentTraining(agent_name="agent-x")
    (folder / "training.yaml").unlink()
    assert read_training(folder) == AgentTraining(agent_name="agent-x")


def test_the_command_line_wins_over_the_file_over_the_default(tmp_path: Path) -> None:
    """Each setting has one source; None on the command line says nothing."""
    folder = _folder(tmp_path, "iters: 70\nbatch_size: 3\nlora: {rank: 4}\n")
    training = read_training(
        folder, {"iters": 9, "batch_size": None, "lora.alpha": 5, "exports": ["mlx"]}
    )
    assert (training.iters, training.batch_size) == (9, 3)
    assert (training.lora.rank, training.lora.alpha) == (4, 5)
    assert training.exports == ("mlx",)
    assert training.learning_rate == AgentTraining(agent_name="x").learning_rate


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001"])
def test_every_way_of_writing_a_small_number_works(tmp_path: Path, text: str) -> None:
    """YAML reads 1e-4 as text; the setting is a number all the same."""
    assert read_training(_folder(tmp_path, f"learning_rate: {text}")).learning_rate == 1e-4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("learning_rat: 1", "'learning_rat' is not a setting; did you mean 'learning_rate'?"),
        ("rank: 8", "'rank' is not a setting; did you mean 'lora.rank'?"),
        ("lora: {rnk: 8}", "'lora.rnk' is not a setting; did you mean 'lora.rank'?"),
        ("iters: many", "iters is 'many'; write a whole number"),
        ("iters: true", "iters is True; write a whole number"),
        ("iters: 1.5", "iters is 1.5; write a whole number"),
        ("iters: 0", "iters is 0; give a whole number of at least 1"),
        ("learning_rate: high", "learning_rate is 'high'; write a number"),
        ("learning_rate: -0.1", "learning_rate is -0.1; give a number above 0"),
        ("learning_rate: .nan", "learning_rate is nan; give a number"),
        ("model_name: 3", "model_name is 3; write a text"),
        ("model_name: ' '", "model_name is ' '; give a name or a path"),
        ("lora: {targets: q_proj}", "lora.targets is 'q_proj'; write a list of texts"),
        ("lora: {targets: []}", "at least one layer"),
        ("lora: {dropout: 1.0}", "from 0 to below 1"),
        ("lora: {rank: {x: 1}}", "lora.rank is nested too deep"),
        ("thresholds: {exact_call_accuracy: 90}", "a share from 0 to 1"),
        ("exports: [gguf]", "some of safetensors, mlx, ollama"),
        ("long_examples: cut", "one of refuse, truncate"),
        ("mlx_bits: 5", "one of 2, 3, 4, 6, 8, 16"),
        ("schedule: weekly", "five cron fields"),
        ("unseen_fraction: 0.9", "a share from 0 to 0.5"),
        ("agent_name: other", "agent_name must be the folder's"),
        ("iters: 1\niters: 2", "the key 'iters' is written twice"),
        ("lora: [1]", "'lora' is not a setting"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, content: str, message: str) -> None:
    """One line names the file, the field, the value and the mend."""
    folder = _folder(tmp_path, content)
    with pytest.raises(AgentConfigError) as caught:
        read_training(folder)
    assert message in str(caught.value)
    assert "training.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_override_names_the_command_line(tmp_path: Path) -> None:
    """The source of the value is the one to look at."""
    with pytest.raises(AgentConfigError, match=r"^command line: batch_size is 0"):
        read_training(_folder(tmp_path, "{}"), {"batch_size": 0})
    with pytest.raises(AgentConfigError, match="does not exist"):
        read_training(tmp_path / "agent-none")


def test_the_shipped_agents_differ_in_settings() -> None:
    """All three files are valid, with settings of their own."""
    agents = [read_training(folder) for folder in sorted(_AGENTS.glob("agent-*"))]
    assert [agent.agent_name for agent in agents] == ["agent-auditor", "agent-bruno", "agent-sre"]
    for name in ("learning_rate", "iters", "lora", "thresholds", "exports", "seed"):
        assert len({getattr(agent, name) for agent in agents}) == 3, name
    assert {agent.schedule for agent in agents} == {"0 2 * * 0"}
