# ruff: noqa: INP001 - a script of the workflows, not part of a package
"""Says which agents' runbooks say something else between two commits, and what.

A runbook counts as changed when its alerts do: their names, texts or commands. Wording outside of
the alerts, and their order, train nothing anew. The names go to standard output as a line for a
job's outputs, the differences as Markdown to the summary file.
"""

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from training.runbook import RunbookError, parse_runbook

NOTHING = re.compile(r"^0*$")
"""What GitHub names as the commit before the first push of a branch."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one agent's alerts differ."""

    agent: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problem: str = ""
    """Why the new runbook cannot be read, when it cannot."""

    @property
    def trains(self) -> bool:
        """Whether there is something new to learn from a runbook that can be read."""
        return not self.problem and bool(self.added or self.changed or self.removed)

    def markdown(self) -> str:
        """One line of a table; names are cut free of what Markdown would read."""
        cells = [", ".join(_plain(name) for name in names) or "-" for names in self._columns()]
        return f"| {self.agent} | {' | '.join(cells)} | {_plain(self.problem) or '-'} |"

    def _columns(self) -> tuple[tuple[str, ...], ...]:
        return self.added, self.changed, self.removed


def _plain(text: str) -> str:
    return re.sub(r"[|<>`\n]", " ", text)


def git(repository: Path, *arguments: str) -> str:
    """Output of a git command; an error of git is one of ours."""
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def agents_with_changes(repository: Path, before: str, after: str) -> list[str]:
    """Folders of agents whose RUNBOOK.md another commit has, deleted ones left out."""
    if NOTHING.match(before):
        names = git(repository, "ls-tree", "-r", "--name-only", after, "--", "agents")
    else:
        names = git(
            repository, "diff", "--name-only", "--diff-filter=d", before, after, "--", "agents"
        )
    pattern = re.compile(r"agents/([A-Za-z0-9._-]+)/RUNBOOK\.md")
    return sorted(match[1] for line in names.splitlines() if (match := pattern.fullmatch(line)))


def alerts(repository: Path, commit: str, agent: str, *, strict: bool) -> dict[str, str]:
    """Hash of each alert of an agent's runbook at a commit; none where there is no runbook."""
    path = f"agents/{agent}/RUNBOOK.md"
    if NOTHING.match(commit) or not git(repository, "ls-tree", commit, "--", path):
        return {}
    runbook = parse_runbook(git(repository, "show", f"{commit}:{path}"), strict=strict)
    return {alert.name: alert.sha256 for alert in runbook.alerts}


def compare(repository: Path, before: str, after: str, agent: str) -> Change:
    """What differs in an agent's alerts; an old runbook is read as far as it can be."""
    try:
        now = alerts(repository, after, agent, strict=True)
    except RunbookError as error:
        return Change(agent=agent, problem=str(error))
    try:
        then = alerts(repository, before, agent, strict=False)
    except RunbookError:
        then = {}
    return Change(
        agent=agent,
        added=tuple(sorted(now.keys() - then.keys())),
        changed=tuple(sorted(name for name in now.keys() & then.keys() if now[name] != then[name])),
        removed=tuple(sorted(then.keys() - now.keys())),
    )


def main(arguments: list[str]) -> int:
    """Prints `names=[...]` and appends the table; fails after both when a runbook is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", required=True)
    parser.add_argument("--after", required=True)
    parser.add_argument("--summary", type=Path)
    parser.add_argument("--repository", type=Path, default=Path.cwd())
    options = parser.parse_args(arguments)
    where = options.repository, options.before, options.after
    changes = [compare(*where, agent) for agent in agents_with_changes(*where)]
    print(f"names={json.dumps([change.agent for change in changes if change.trains])}")
    if options.summary:
        head = ["| agent | added | changed | removed | problem |", "|---|---|---|---|---|"]
        lines = ["### Runbooks", "", *head, *(change.markdown() for change in changes), ""]
        with options.summary.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines))
    broken = [change for change in changes if change.problem]
    for change in broken:
        print(f"::error::agents/{change.agent}/RUNBOOK.md: {change.problem}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
