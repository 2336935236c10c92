"""An agent's settings and data set: read from its folder, written once per content."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from flytekit import Cache, Deck, task

from tasks.addresses import local_copy
from tasks.agent_records import AgentOverrides, AgentSource, PreparedAgent
from tasks.machines import LIGHT
from tasks.publish import check_repository
from tasks.shelf import as_output, kept_folder, shelf_identity
from tasks.sources import SourceVersion
from training.agent_config import AgentTraining

DATA_FOLDER, TOOLS_FILE = "data", "tools.yaml"
PREPARATION = SourceVersion(("training.agent_data",))


class LocatedAgent(NamedTuple):
    """An agent as its folder says: what its data is made of, and how it is trained."""

    source: AgentSource
    config: AgentTraining


@task(**LIGHT.options())
def locate_agent(
    agent_name: str,
    agents: str,
    model_name: str | None,
    runbook_path: str | None,
    learning_rate: float | None,
    batch_size: int | None,
    iters: int | None,
    overrides: AgentOverrides,
    git_repository: str,
) -> LocatedAgent:
    """Reads the settings, the command line over the file over defaults, and hashes the content.

    Not cached, since the folder may change; cheap, since it only reads.

    Raises:
        ValueError: The agent has no folder, a setting, the runbook or the tools are wrong, or there
            is no repository to publish to.
    """
    from training.agent_config import read_training
    from training.runbook import read_runbook
    from training.tools_file import read_tools

    check_repository(git_repository)
    given = {
        "model_name": model_name,
        "runbook_path": runbook_path,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "iters": iters,
        **flat_overrides(overrides),
    }
    with agent_folder(agents, agent_name) as folder:
        config = read_training(folder, given)
        with runbook_of(folder, config.runbook_path) as runbook:
            content = read_runbook(runbook).sha256 + read_tools(folder / TOOLS_FILE).sha256
    source = AgentSource(
        agent=agent_name,
        agents=agents,
        runbook=config.runbook_path,
        digest=hashlib.sha256(content.encode()).hexdigest(),
        seed=config.seed,
        unseen_fraction=config.unseen_fraction,
        shelf=shelf_identity(),
    )
    return LocatedAgent(source=source, config=config)


@task(cache=Cache(policies=PREPARATION, serialize=True), enable_deck=True, **LIGHT.options())
def prepare_agent(source: AgentSource) -> PreparedAgent:
    """Writes the data set; the same runbook, tools and splits are prepared once.

    Raises:
        ValueError: The runbook or the tools cannot be used.
    """
    from training.agent_data import prepare_agent_data
    from training.agent_data_files import read_manifest

    key = hashlib.sha256(repr(source).encode()).hexdigest()[:16]
    out = kept_folder("agents", f"{source.agent}-{key}-{PREPARATION.get_version('', None)}")
    if not (out / TOOLS_FILE).is_file():
        shutil.rmtree(out, ignore_errors=True)
        with (
            agent_folder(source.agents, source.agent) as folder,
            runbook_of(folder, source.runbook) as runbook,
        ):
            prepare_agent_data(
                agent_folder=folder,
                runbook_path=runbook,
                out=out / DATA_FOLDER,
                seed=source.seed,
                unseen_fraction=source.unseen_fraction,
            )
            shutil.copyfile(folder / TOOLS_FILE, out / TOOLS_FILE)
    manifest = read_manifest(out / DATA_FOLDER)
    Deck("Data", data_table(manifest.statistics, manifest.problems))
    return PreparedAgent(
        agent=source.agent,
        folder=as_output(out),
        version=manifest.version,
        num_train=int(manifest.statistics["examples"]["train"]),
    )


@contextmanager
def agent_folder(agents: str, name: str) -> Iterator[Path]:
    """Gives an agent's folder: of those that come with the code, or fetched from an address.

    Raises:
        ValueError: The name is not that of a folder.
    """
    if not name or Path(name).name != name:
        raise ValueError(f"agent_name is {name!r}; give the name of a folder under agents/")
    with tempfile.TemporaryDirectory() as temporary:
        if agents.startswith("s3://"):
            local_copy(f"{agents.rstrip('/')}/{name}", Path(temporary) / name)
            root = Path(temporary)
        else:
            root = Path(agents) if agents else Path(__file__).resolve().parents[1] / "agents"
        if not (root / name).is_dir():
            known = sorted(path.parent.name for path in root.glob(f"*/{TOOLS_FILE}"))
            raise ValueError(
                f"agent_name is {name!r}, which has no folder in {agents or 'agents'}; "
                f"use one of {', '.join(known) or 'none: there is no agent'}"
            )
        yield root / name


@contextmanager
def runbook_of(folder: Path, runbook: str) -> Iterator[Path]:
    """Gives an agent's runbook: in its folder, or fetched from an address."""
    with tempfile.TemporaryDirectory() as temporary:
        if runbook.startswith("s3://"):
            yield Path(local_copy(runbook, Path(temporary)))
        else:
            yield folder / runbook


def flat_overrides(overrides: AgentOverrides) -> dict[str, Any]:
    """Gives what was overridden by dotted names, as settings are called in the file."""
    flat: dict[str, Any] = {}
    for name, value in asdict(overrides).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return {name: value for name, value in flat.items() if value is not None}


def data_table(statistics: Mapping[str, Any], problems: tuple[str, ...]) -> str:
    """Draws the counts of a data set and what its runbook's reader reported."""
    from html import escape

    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in statistics.items()
    )
    listed = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return f"<table>{rows}</table><ul>{listed}</ul>"
