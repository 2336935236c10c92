"""An agent's data set as it is written: JSONL per split, MLX's three files, and a manifest."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.examples import Example, Split

MANIFEST = "manifest.json"
_MLX_FILES: Mapping[str, tuple[Split, ...]] = {
    "train": (Split.TRAIN,),
    "valid": (Split.VALID,),
    "test": (Split.TEST_KNOWN, Split.TEST_UNSEEN, Split.TEST_IRRELEVANT),
}


@dataclass(frozen=True, kw_only=True)
class AgentData:
    """A data set before it is written."""

    agent: str
    """Name of the agent."""

    version: str
    """`g<generator>-<runbook>-<tools and settings>`, hashes shortened."""

    splits: Mapping[Split, tuple[Example, ...]]
    """Examples by split."""

    declarations: tuple[Mapping[str, Any], ...]
    """The tools, as chat templates take them."""

    alerts: Mapping[str, str]
    """Hash of each alert of the runbook, by name: what drift is measured against."""

    unseen_alerts: tuple[str, ...]
    """Alerts kept out of training."""

    runbook_sha256: str
    """Hash of the runbook's content."""

    tools_sha256: str
    """Hash of the tools file."""

    statistics: Mapping[str, Any]
    """Counts of alerts, commands, examples, calls and what was left out."""

    problems: tuple[str, ...] = ()
    """What the runbook's reader reported, with file and line: secrets, lines not understood."""


@dataclass(frozen=True, kw_only=True)
class DataManifest:
    """What a written data set consists of."""

    agent: str
    """Name of the agent."""

    version: str
    """Version of the data set."""

    runbook_sha256: str
    """Hash of the runbook's content."""

    tools_sha256: str
    """Hash of the tools file."""

    alerts: Mapping[str, str]
    """Hash of each alert, by name."""

    unseen_alerts: tuple[str, ...]
    """Alerts kept out of training."""

    files: Mapping[str, Mapping[str, Any]]
    """Rows, bytes and SHA-256 of each file, by path in the folder."""

    statistics: Mapping[str, Any]
    """Counts, see `AgentData.statistics`."""

    problems: tuple[str, ...] = ()
    """What the runbook's reader reported, with file and line."""

    def to_record(self) -> dict[str, Any]:
        """Gives plain JSON."""
        return {
            "agent": self.agent,
            "version": self.version,
            "runbook_sha256": self.runbook_sha256,
            "tools_sha256": self.tools_sha256,
            "alerts": dict(self.alerts),
            "unseen_alerts": list(self.unseen_alerts),
            "files": {name: dict(entry) for name, entry in self.files.items()},
            "statistics": dict(self.statistics),
            "problems": list(self.problems),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "DataManifest":
        """Reads plain JSON back."""
        lists = {name: tuple(record[name]) for name in ("unseen_alerts", "problems")}
        return cls(**{**record, **lists})


def write_agent_data(data: AgentData, out: Path) -> DataManifest:
    """Writes JSONL files per split, MLX's three files, and the manifest, all or nothing.

    Raises:
        ValueError: `out` exists and is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out is {str(out)!r}, which is not an empty folder; give a new one")
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        manifest = _write_into(data, building)
        if out.exists():
            out.rmdir()
        building.chmod(0o755)
        building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return manifest


def read_manifest(folder: Path) -> DataManifest:
    """Reads the manifest of a written data set.

    Raises:
        ValueError: There is none, or it is not one.
    """
    path = folder / MANIFEST
    try:
        return DataManifest.from_record(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist; prepare the data set first") from error
    except (TypeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no manifest ({error}); prepare the data set again") from error


def _write_into(data: AgentData, folder: Path) -> DataManifest:
    files: dict[str, Mapping[str, Any]] = {}
    for split, examples in data.splits.items():
        rows = [example.to_record(data.declarations) for example in examples]
        files[f"{split}.jsonl"] = _write_jsonl(folder / f"{split}.jsonl", rows)
    (folder / "mlx").mkdir()
    for name, parts in _MLX_FILES.items():
        rows = [
            {"messages": example.messages(), "tools": list(data.declarations)}
            for part in parts
            for example in data.splits[part]
        ]
        files[f"mlx/{name}.jsonl"] = _write_jsonl(folder / "mlx" / f"{name}.jsonl", rows)
    manifest = DataManifest(
        agent=data.agent,
        version=data.version,
        runbook_sha256=data.runbook_sha256,
        tools_sha256=data.tools_sha256,
        alerts=data.alerts,
        unseen_alerts=data.unseen_alerts,
        files=files,
        statistics=data.statistics,
        problems=data.problems,
    )
    text = json.dumps(manifest.to_record(), indent=2, sort_keys=True) + "\n"
    _write(folder / MANIFEST, text.encode())
    return manifest


def _write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    lines = (json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    content = "".join(lines).encode()
    _write(path, content)
    return {
        "rows": len(rows),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
