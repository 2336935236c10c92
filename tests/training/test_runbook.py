"""Runbooks are read as Markdown, in both layouts, with a report of what could not be read."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.alerts import ProblemKind, Section
from training.command_risk import Risk
from training.runbook import RunbookError, parse_runbook, read_runbook

_AGENTS = Path(__file__).parents[2] / "agents"

_MANY = """# Runbook

Words before the first alert.

### Alert: DiskFull

**Severity:** critical

**Symptoms:**
- The disk is full
- Writes fail

**Impact:** Nothing is written.

**Investigation:**
```bash
# How full is it?
kubectl exec $POD -n $NAMESPACE -- \\
  df -h
```

**Resolution:**
1. **Grow** the claim with `kubectl edit pvc $PVC`, then:
   ```bash
   kubectl rollout restart deployment web -n apps
   ```

### Alert: NodeDown

Look with `kubectl get nodes`; the label `node` says which.

## Appendix

```bash
kubectl get secrets
```
"""

_PAGE = """---
title: Kube Job Failed
weight: 20
---

# KubeJobFailed

## Meaning

A job gave up. It will not try again.

## Impact

Its work is missing.

## Diagnosis

- Check the events: `kubectl -n $NAMESPACE describe job $JOB`.

```promql
kube_job_failed > 0
```

## Mitigation

### By hand

```console
$ kubectl delete job $JOB
job.batch "x" deleted
```
"""


def test_many_alerts_in_one_file() -> None:
    """Sections, severity, symptoms, steps and commands come out in place."""
    disk, node = parse_runbook(_MANY).alerts
    assert (disk.name, disk.severity, disk.first_line) == ("DiskFull", "critical", 5)
    assert disk.symptoms == ("The disk is full", "Writes fail")
    assert disk.impact == "Nothing is written."
    look, edit, restart = disk.commands
    assert look.line.text == "kubectl exec $POD -n $NAMESPACE -- df -h"
    assert (look.step, look.section) == ("How full is it?", Section.INVESTIGATION)
    assert (look.language, look.first_line) == ("bash", 18)
    assert (edit.language, edit.section) == ("inline", Section.RESOLUTION)
    assert restart.step.startswith("Grow the claim")
    assert restart.first_line == 25
    assert [command.line.head.verb for command in node.commands] == ["get"]


def test_a_chapter_of_its_own_ends_the_alert() -> None:
    """What stands below a heading of higher rank belongs to no alert."""
    runbook = parse_runbook(_MANY)
    assert not any("secrets" in command.line.text for command in runbook.commands)


def test_one_file_per_alert() -> None:
    """Front matter is skipped, the title names the alert, sections have their other names."""
    (alert,) = parse_runbook(_PAGE, source="KubeJobFailed.md").alerts
    assert alert.name == "KubeJobFailed"
    assert alert.summary == "A job gave up. It will not try again."
    look, remove = alert.commands
    assert look.section is Section.INVESTIGATION
    assert (remove.section, remove.line.risk) == (Section.RESOLUTION, Risk.DESTRUCTIVE)
    assert remove.line.text == "kubectl delete job $JOB"


def test_a_title_in_words_counts_where_the_file_is_named_after_it() -> None:
    """`# CPU Throttling High` in CPUThrottlingHigh.md is that alert."""
    text = "# CPU Throttling High\n\n## Meaning\n\nSlow.\n"
    (alert,) = parse_runbook(text, source="kubernetes/CPUThrottlingHigh.md").alerts
    assert alert.name == "CPUThrottlingHigh"
    with pytest.raises(RunbookError, match="no alerts"):
        parse_runbook(text, source="README.md")


def test_a_folder_is_one_runbook(tmp_path: Path) -> None:
    """Every file is read, pages without an alert are reported, order does not matter."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "KubeJobFailed.md").write_text(_PAGE)
    (tmp_path / "a.md").write_text(_MANY)
    (tmp_path / "_index.md").write_text("---\ntitle: x\n---\n")
    runbook = read_runbook(tmp_path)
    assert [alert.name for alert in runbook.alerts] == ["DiskFull", "NodeDown", "KubeJobFailed"]
    (unused,) = runbook.problems_of(ProblemKind.NO_ALERT)
    assert str(unused).startswith("_index.md:1: no alert")
    (tmp_path / "b" / "KubeJobFailed.md").rename(tmp_path / "0.md")
    assert read_runbook(tmp_path).sha256 == runbook.sha256


def test_the_hash_follows_the_content() -> None:
    """Trailing space changes nothing, a word changes only its alert."""
    before = parse_runbook(_MANY)
    spaced = parse_runbook(_MANY.replace("- Writes fail", "- Writes fail   "))
    assert spaced.sha256 == before.sha256
    after = parse_runbook(_MANY.replace("Writes fail", "Writes are refused"))
    assert after.sha256 != before.sha256
    assert after.alerts[0].sha256 != before.alerts[0].sha256
    assert after.alerts[1].sha256 == before.alerts[1].sha256


@pytest.mark.parametrize("text", ["", "# A title of words\n\nText.\n", "```bash\nls\n```\n"])
def test_a_runbook_without_alerts_is_refused(text: str) -> None:
    """The error says how an alert is written."""
    with pytest.raises(RunbookError, match="no alerts; write sections '### Alert: Name'"):
        parse_runbook(text)


def test_an_alert_whose_name_is_no_word_is_refused_or_reported() -> None:
    """A heading that means an alert is never passed over in silence."""
    text = "### Alert: Good\n\nx\n\n### Alert: Kube Pod Crash Looping\n\ny\n"
    with pytest.raises(RunbookError, match=r"RUNBOOK.md:5: the alert's name is 'Kube Pod"):
        parse_runbook(text)
    assert [alert.name for alert in parse_runbook(text, strict=False).alerts] == ["Good"]


_LINES = st.sampled_from(
    (
        *("### Alert: A", "### Alert: B", "# Page", "## Meaning", "**Symptoms:**", "- one", "---"),
        *("```bash", "```", "~~~", "kubectl get pods", "   kubectl logs <pod> \\", "", "    x"),
        *("`flux get ks`", "**Severity:** critical", "> quote", "<details>", "password=hunter22"),
    )
)


@settings(max_examples=80, deadline=None)
@given(st.lists(_LINES, max_size=25))
def test_any_markdown_is_read_or_refused(lines: list[str]) -> None:
    """No text makes the reader fail in another way, and no secret comes through."""
    try:
        runbook = parse_runbook("\n".join(lines), strict=False)
    except RunbookError:
        return
    assert "hunter22" not in repr(runbook)
    assert len({alert.name for alert in runbook.alerts}) == len(runbook.alerts)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    """The error names the path."""
    with pytest.raises(RunbookError, match="does not exist"):
        read_runbook(tmp_path / "none.md")


def test_duplicate_names_are_refused_or_reported() -> None:
    """Strictly an error that names both places, otherwise the first is kept."""
    text = "### Alert: A\n\nOne.\n\n### Alert: A\n\nTwo.\n"
    with pytest.raises(RunbookError, match=r"RUNBOOK.md:5: alert 'A' is already at RUNBOOK.md:1"):
        parse_runbook(text)
    runbook = parse_runbook(text, strict=False)
    assert runbook.alerts[0].summary == "One."
    assert len(runbook.problems_of(ProblemKind.DUPLICATE_ALERT)) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("### Alert: A\n\n```bash\nkubectl get pods\n", 3),
        ("### Alert: A\n\n1. Do\n   ```bash\n   kubectl get pods\n\nMore words.\n", 4),
        ("### Alert: A\n\n```bash\nkubectl get pods\n\n```bash\nkubectl get nodes\n```\n", 3),
        ("### Alert: A\n\n````\nkubectl get pods\n```\n", 3),
    ],
)
def test_broken_fences_are_refused_or_reported(text: str, line: int) -> None:
    """A fence that ends with its container, or swallows the next one, is named by its line."""
    with pytest.raises(RunbookError, match=f"RUNBOOK.md:{line}: the code fence opened here"):
        parse_runbook(text)
    assert len(parse_runbook(text, strict=False).problems_of(ProblemKind.UNCLOSED_FENCE)) == 1


def test_closed_fences_of_all_kinds_pass() -> None:
    """Tildes, longer marks, lists and quotes close as CommonMark says."""
    text = (
        "### Alert: A\n\n~~~sh\nkubectl get pods\n~~~\n\n````\n```\n````\n\n"
        "> ```bash\n> kubectl get nodes\n> ```\n\n- x\n\n  ```bash\n  kubectl get jobs\n  ```\n"
    )
    runbook = parse_runbook(text)
    assert [command.line.head.resource for command in runbook.commands] == ["pod", "node", "job"]


def test_secrets_are_redacted_and_reported() -> None:
    """The value is nowhere in the result, and the report says which line and to revoke it."""
    text = _MANY.replace("kubectl rollout", "helm login --password hunter22\n   kubectl rollout")
    runbook = parse_runbook(text)
    assert "hunter22" not in repr(runbook)
    (problem,) = runbook.problems_of(ProblemKind.SECRET)
    assert problem.line == 25
    assert "revoke" in problem.message


def test_output_in_a_code_block_is_reported_not_taken() -> None:
    """A table below a command is no command."""
    text = "### Alert: A\n\n```\nkubectl get pods\nNAME READY\nweb-0 1/1\n```\n"
    runbook = parse_runbook(text)
    assert len(runbook.commands) == 1
    lines = [problem.line for problem in runbook.problems_of(ProblemKind.UNREAD_COMMAND)]
    assert lines == [5, 6]


def test_other_languages_and_lone_words_are_no_commands() -> None:
    """Queries, YAML and names in inline code are left alone without a report."""
    text = "### Alert: A\n\nSee `kubectl`, `up == 0`.\n\n```promql\nup\n```\n\n```yaml\na: 1\n```\n"
    runbook = parse_runbook(text)
    assert not runbook.commands
    assert not runbook.problems


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are named with the mend."""
    (tmp_path / "a.md").write_bytes(b"### Alert: A\n\xff\xfe")
    with pytest.raises(RunbookError, match=r"a.md:1: is not UTF-8 text; save it as UTF-8"):
        read_runbook(tmp_path)


@pytest.mark.parametrize(("agent", "least"), [("sre", 25), ("bruno", 12), ("auditor", 12)])
def test_our_runbooks_are_read_without_a_problem(agent: str, least: int) -> None:
    """Each shipped alert has a severity, two symptoms, an impact and a command to look with."""
    runbook = read_runbook(_AGENTS / f"agent-{agent}" / "RUNBOOK.md")
    assert len(runbook.alerts) >= least
    assert not runbook.problems
    for alert in runbook.alerts:
        assert alert.severity in ("info", "warning", "critical"), alert.name
        assert len(alert.symptoms) >= 2, alert.name
        assert alert.impact, alert.name
        assert alert.steps, alert.name
        assert alert.commands_of(Section.INVESTIGATION), alert.name
