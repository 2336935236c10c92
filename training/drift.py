"""Compares a runbook with the data set that a champion was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.agent_data import GENERATOR_VERSION
from training.agent_data_files import DataManifest
from training.runbook import Runbook
from training.tools import Toolbox

_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What differs between a runbook and a data set."""

    trained_version: str
    """Version of the data set that the champion saw."""

    added: tuple[str, ...] = ()
    """Alerts that the champion has never seen, by name."""

    changed: tuple[str, ...] = ()
    """Alerts whose text is another."""

    removed: tuple[str, ...] = ()
    """Alerts that the runbook no longer has."""

    tools_changed: bool = False
    """Whether the tools or their rules are others."""

    generator_changed: bool = False
    """Whether examples are now generated in another way."""

    @property
    def drifted(self) -> bool:
        """Whether anything differs."""
        alerts = self.added or self.changed or self.removed
        return bool(alerts) or self.tools_changed or self.generator_changed

    def summary(self) -> str:
        """Says in one line what differs.

        >>> Drift(trained_version="g1-a-b", added=("DiskFull",), tools_changed=True).summary()
        '1 alert added (DiskFull); the tools changed'
        """
        parts = [
            _listed(names, word)
            for names, word in (
                (self.added, "added"),
                (self.changed, "changed"),
                (self.removed, "removed"),
            )
            if names
        ]
        parts += ["the tools changed"] if self.tools_changed else []
        parts += ["the generator changed"] if self.generator_changed else []
        return "; ".join(parts) or f"nothing differs from {self.trained_version}"


def measure_drift(runbook: Runbook, toolbox: Toolbox, trained: DataManifest) -> Drift:
    """Compares content hashes of a runbook and tools with a data set's manifest."""
    return _drift(
        {alert.name: alert.sha256 for alert in runbook.alerts},
        tools_sha256=toolbox.sha256,
        generator=f"g{GENERATOR_VERSION}",
        trained=trained,
    )


def compare_data_sets(now: DataManifest, trained: DataManifest) -> Drift:
    """Compares a data set with the one that a champion was trained on."""
    return _drift(
        now.alerts,
        tools_sha256=now.tools_sha256,
        generator=now.version.partition("-")[0],
        trained=trained,
    )


def _drift(
    now: Mapping[str, str], *, tools_sha256: str, generator: str, trained: DataManifest
) -> Drift:
    then = trained.alerts
    return Drift(
        trained_version=trained.version,
        added=tuple(sorted(now.keys() - then.keys())),
        changed=tuple(sorted(name for name in now.keys() & then.keys() if now[name] != then[name])),
        removed=tuple(sorted(then.keys() - now.keys())),
        tools_changed=tools_sha256 != trained.tools_sha256,
        generator_changed=not trained.version.startswith(f"{generator}-"),
    )


def _listed(names: tuple[str, ...], word: str) -> str:
    shown = ", ".join(names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} alert{'s' if len(names) > 1 else ''} {word} ({shown}{more})"
