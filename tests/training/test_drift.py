"""Drift says which alerts differ from what the champion was trained on."""

from dataclasses import replace
from pathlib import Path

from training.agent_data import build_agent_data
from training.agent_data_files import write_agent_data
from training.drift import Drift, measure_drift
from training.runbook import parse_runbook
from training.tools_file import read_tools

_TOOLS = read_tools(Path(__file__).parents[2] / "agents" / "agent-sre" / "tools.yaml")
_TEXT = "### Alert: A\n\nThe first.\n\n### Alert: B\n\nThe second.\n\n### Alert: C\n\nThe third.\n"


def test_drift_names_what_changed(tmp_path: Path) -> None:
    """Added, changed and removed alerts, and other tools; order and space do not count."""
    data = build_agent_data(parse_runbook(_TEXT), _TOOLS, agent="x")
    trained = write_agent_data(data, tmp_path / "data")
    assert not measure_drift(parse_runbook(_TEXT), _TOOLS, trained).drifted
    turned = (
        "### Alert: C\n\nThe third.\n\n\n### Alert: B\n\nThe second.\n\n### Alert: A\n\nThe first."
    )
    assert not measure_drift(parse_runbook(turned), _TOOLS, trained).drifted

    other = _TEXT.replace("Alert: A", "Alert: D").replace("second", "2nd")
    drift = measure_drift(parse_runbook(other), replace(_TOOLS, sha256="0"), trained)
    assert (drift.added, drift.changed, drift.removed) == (("D",), ("B",), ("A",))
    assert drift.drifted
    assert drift.summary() == (
        "1 alert added (D); 1 alert changed (B); 1 alert removed (A); the tools changed"
    )


def test_a_new_generator_is_drift(tmp_path: Path) -> None:
    """Other examples from the same runbook are a reason to train again."""
    data = build_agent_data(parse_runbook(_TEXT), _TOOLS, agent="x")
    trained = write_agent_data(replace(data, version="g0-a-b"), tmp_path / "data")
    drift = measure_drift(parse_runbook(_TEXT), _TOOLS, trained)
    assert drift.generator_changed
    assert drift.summary() == "the generator changed"


def test_a_long_list_is_cut() -> None:
    """The summary stays one line."""
    drift = Drift(trained_version="v", added=tuple(f"A{at}" for at in range(9)))
    assert drift.summary() == "9 alerts added (A0, A1, A2, A3, A4 and 4 more)"
    assert Drift(trained_version="v").summary() == "nothing differs from v"
