"""The scripts of the workflows: which agents are trained, and what changed in their runbooks."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALERT = """### Alert: {name}

**Symptoms:** {text}

**Investigation:**

```bash
kubectl get pods -n {namespace}
```

**Resolution:**

```bash
kubectl rollout restart deployment/web -n {namespace}
```

"""


@pytest.fixture
def names(load: Callable[[str], ModuleType]) -> ModuleType:
    """agent_names.py."""
    return load(".github/scripts/agent_names.py")


@pytest.fixture
def changes(load: Callable[[str], ModuleType]) -> ModuleType:
    """runbook_changes.py."""
    return load(".github/scripts/runbook_changes.py")


def test_all_agents_are_named_by_default(
    names: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a choice every folder of agents/ is trained."""
    assert names.main([]) == 0
    listed = json.loads(capsys.readouterr().out.removeprefix("names="))
    assert listed == sorted(path.name for path in (ROOT / "agents").iterdir() if path.is_dir())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--agent", "$(reboot)"], "no folder of agents/"),
        (["--agent", "../agents"], "no folder of agents/"),
        (["--budget", "two"], "no amount of USD"),
        (["--budget", "0"], "no amount of USD"),
        (["--budget", "-1"], "no amount of USD"),
        (["--budget", "1; reboot"], "no amount of USD"),
    ],
)
def test_what_is_typed_is_checked(
    names: ModuleType, capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    """An unknown agent or a budget that is no amount stops the run with one line."""
    parser_safe = [f"{arguments[0]}={arguments[1]}"]
    assert names.main(parser_safe) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert word in told.err
    assert told.err.count("\n") == 1


class Repository:
    """A git repository of agents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """Runs git as somebody."""
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        return subprocess.run(
            ["git", "-C", str(self.folder), *identity, *arguments],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self, **runbooks: str | None) -> str:
        """Writes or removes runbooks by agent and commits them."""
        for agent, text in runbooks.items():
            path = self.folder / "agents" / agent / "RUNBOOK.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")
        return self.git("rev-parse", "HEAD")


def runbook(*alerts: tuple[str, str], intro: str = "Our runbook.") -> str:
    """A runbook with alerts of a name and a symptom."""
    text = f"# Runbook\n\n{intro}\n\n"
    return text + "".join(ALERT.format(name=n, text=t, namespace="apps") for n, t in alerts)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository."""
    return Repository(tmp_path)


def outcome(
    changes: ModuleType,
    repository: Repository,
    before: str,
    after: str,
    capsys: pytest.CaptureFixture[str],
) -> tuple[int, list[str], str]:
    """Exit status, names and summary of a run."""
    summary = repository.folder / ".git" / "summary.md"
    status = changes.main(
        [
            f"--before={before}",
            f"--after={after}",
            f"--summary={summary}",
            f"--repository={repository.folder}",
        ]
    )
    listed = json.loads(capsys.readouterr().out.removeprefix("names="))
    return status, listed, summary.read_text()


def test_only_agents_whose_alerts_changed_are_trained(
    changes: ModuleType, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """Added, changed and removed alerts are told apart; another agent is left alone."""
    before = repository.commit(
        one=runbook(("Kept", "slow"), ("Changed", "slow"), ("Removed", "slow")),
        two=runbook(("Other", "slow")),
    )
    after = repository.commit(one=runbook(("Kept", "slow"), ("Changed", "fast"), ("Added", "new")))
    status, listed, summary = outcome(changes, repository, before, after, capsys)
    assert (status, listed) == (0, ["one"])
    assert "| one | Added | Changed | Removed | - |" in summary
    assert "two" not in summary


def test_words_around_the_alerts_train_nothing(
    changes: ModuleType, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new introduction and another order are shown as no change."""
    before = repository.commit(one=runbook(("A", "slow"), ("B", "slow")))
    after = repository.commit(one=runbook(("B", "slow"), ("A", "slow"), intro="Better words."))
    status, listed, summary = outcome(changes, repository, before, after, capsys)
    assert (status, listed) == (0, [])
    assert "| one | - | - | - | - |" in summary


def test_new_and_removed_agents(
    changes: ModuleType, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new agent is trained with all its alerts, a removed one is not."""
    before = repository.commit(old=runbook(("A", "slow")))
    after = repository.commit(old=None, new=runbook(("B", "slow")))
    status, listed, summary = outcome(changes, repository, before, after, capsys)
    assert (status, listed) == (0, ["new"])
    assert "| new | B | - | - | - |" in summary


def test_the_first_push_of_a_branch_has_no_commit_before(
    changes: ModuleType, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """GitHub then names forty zeros: every agent counts as new."""
    after = repository.commit(one=runbook(("A", "slow")), two=runbook(("B", "slow")))
    status, listed, _ = outcome(changes, repository, "0" * 40, after, capsys)
    assert (status, listed) == (0, ["one", "two"])


def test_a_broken_runbook_is_named_and_not_trained(
    changes: ModuleType, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two alerts of one name fail the job, with the reason in the summary."""
    before = repository.commit(one=runbook(("A", "slow")), two=runbook(("A", "slow")))
    after = repository.commit(one=runbook(("A", "slow"), ("A", "fast")), two=runbook(("A", "fast")))
    status, listed, summary = outcome(changes, repository, before, after, capsys)
    assert (status, listed) == (1, ["two"])
    row = next(line for line in summary.splitlines() if line.startswith("| one |"))
    assert row.endswith("|")
    assert row.split("|")[5].strip() not in ("", "-")


def test_names_cannot_write_into_the_summary(changes: ModuleType) -> None:
    """Markdown and HTML in a name come out as plain words."""
    change = changes.Change(agent="one", added=("a|b`<script>",))
    assert change.markdown() == "| one | a b  script  | - | - | - |"
