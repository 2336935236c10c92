"""Who runs where, and the shelf that keeps prepared data on one machine."""

import shutil
from pathlib import Path

import pytest
from flytekit.exceptions.user import FlyteRecoverableException

from tasks.execution import current_execution
from tasks.retrying import retried_by_flyte
from tasks.shelf import Shelf
from tasks.software import software_versions
from tasks.sources import SourceVersion


def test_two_local_runs_have_names_of_their_own() -> None:
    """Flyte calls both "local"; a run must not find the other's MLflow run."""
    assert current_execution({}).name != current_execution({}).name


def test_a_name_takes_an_earlier_local_run_up_again() -> None:
    """As a retry on a cluster would."""
    assert current_execution({"OPPEN_EXECUTION_ID": "mine"}).name == "mine"


def test_a_pod_knows_its_execution_and_attempt() -> None:
    """Flyte tells both by the environment."""
    pod = {"FLYTE_INTERNAL_EXECUTION_ID": "f1", "FLYTE_ATTEMPT_NUMBER": "2"}
    execution = current_execution(pod)
    assert (execution.name, execution.attempt, execution.on_cluster) == ("f1", 2, True)


def test_a_shelf_thrown_away_has_another_identity(tmp_path: Path) -> None:
    """So a cached output that lay on the old one is not believed."""
    shelf = Shelf.of_this_machine({"OPPEN_LOCAL": str(tmp_path)})
    first = shelf.identity()
    assert shelf.identity() == first
    shutil.rmtree(shelf.root)
    assert shelf.identity() != first


def test_only_what_may_pass_is_retried() -> None:
    """A server that is away is worth another try; a refusal is not."""
    with pytest.raises(FlyteRecoverableException, match="away"), retried_by_flyte():
        raise ConnectionError("away")
    with pytest.raises(ValueError, match="refused"), retried_by_flyte():
        raise ValueError("refused")


def test_a_cache_ends_when_its_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is one of the sources, and a wrong module name is an error."""
    module = tmp_path / "prepared_by_this.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    policy = SourceVersion(("prepared_by_this",))
    module.write_text("A = 1\n", encoding="utf-8")
    first = policy.get_version("", None)
    module.write_text("A = 2\n", encoding="utf-8")
    assert policy.get_version("", None) != first
    assert policy.get_version("salt", None) != policy.get_version("", None)
    with pytest.raises(ValueError, match="cache module 'no_such_module' has no source file"):
        SourceVersion(("no_such_module",)).get_version("", None)


def test_versions_are_tags() -> None:
    """Python and what is named, each under a name of its own."""
    tags = software_versions("flytekit")
    assert set(tags) == {"oppen.version.python", "oppen.version.flytekit"}
