"""The MLflow registry, against a real server: one version per execution, loadable, torch-free."""

import os
import signal
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import numpy as np
import pytest

from operations.servers import Servers
from stores import registry, tracking
from stores.mlflow_api import TrackingRefused
from stores.settings import Settings


@pytest.fixture
def server(mlflow_server: Servers) -> Settings:
    """Settings of MLflow alone."""
    return Settings(mlflow_tracking_uri=mlflow_server.settings.mlflow_tracking_uri)


@pytest.fixture
def name() -> str:
    """A model name, and execution, that no other test uses."""
    return f"m-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder that is no MLflow model."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    return tmp_path / "adapter"


def opened(server: Settings, name: str) -> str:
    """Opens a run and returns its identifier."""
    return tracking.open_run(server, experiment="registry", execution=name, name=name).run_id


def python(code: str, server: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh process that knows the server."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=os.environ | server.to_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_classifier_is_registered_without_torch_and_loads_in_a_fresh_process(
    server: Settings, name: str, tmp_path: Path
) -> None:
    """Saved with torch, registered where torch cannot be imported, loaded by alias elsewhere."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    example = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    model.train()
    registry.save_classifier(model, tmp_path / "model", example=example)
    assert model.training
    with torch.inference_mode():
        expected = model(torch.from_numpy(example[:3])).tolist()
    run_id = opened(server, name)

    registering = python(
        """
        import sys
        sys.modules.update(dict.fromkeys(["torch", "sklearn", "transformers", "flask"]))
        from pathlib import Path
        from stores import registry
        from stores.settings import Settings
        settings = Settings.from_environment()
        name, run_id, folder = sys.argv[1:]
        made = registry.register_version(
            settings, name=name, run_id=run_id, execution=name, folder=Path(folder))
        registry.set_alias(settings, name, "champion", made.version)
        print(made.version)
        """,
        server,
        name,
        run_id,
        str(tmp_path / "model"),
    )
    assert registering.stdout.strip() == "1", registering.stderr

    loading = python(
        """
        import sys, json, mlflow, torch, numpy as np
        model = mlflow.pytorch.load_model(f"models:/{sys.argv[1]}@champion")
        example = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
        print(json.dumps(model(torch.from_numpy(example[:3])).tolist()))
        """,
        server,
        name,
    )
    assert loading.returncode == 0, loading.stderr
    assert np.allclose(eval(loading.stdout), expected)  # noqa: S307 - our own numbers
    pickles = [p for p in (tmp_path / "model").rglob("*") if p.suffix in {".pth", ".pkl"}]
    assert pickles == []
    info = (tmp_path / "model" / "MLmodel").read_text()
    assert "signature" in info
    assert "saved_input_example_info" in info


def test_a_retried_registration_gives_one_version(
    server: Settings, name: str, adapter: Path
) -> None:
    """Registering twice gives the same version with the later tags, and uploads nothing again."""
    run_id = opened(server, name)
    first = registry.register_version(
        server, name=name, run_id=run_id, execution="x1", folder=adapter, tags={"a": "1", "b": "1"}
    )
    second = registry.register_version(
        server, name=name, run_id=run_id, execution="x1", folder=adapter, tags={"a": "2"}
    )
    other = registry.register_version(
        server, name=name, run_id=run_id, execution="x2", folder=adapter
    )

    assert (first.version, second.version, other.version) == ("1", "1", "2")
    assert second.tags == {"oppen.execution": "x1", "a": "2", "b": "1"}


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from mlflow import MlflowClient
    from stores import registry
    from stores.settings import Settings
    step, name, run_id, folder = sys.argv[1:]
    real = getattr(MlflowClient, step)
    def killed(self, *arguments, **named):
        if step != "log_model_artifacts":
            real(self, *arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(MlflowClient, step, killed)
    registry.register_version(Settings.from_environment(), name=name, run_id=run_id,
                              execution=name, folder=Path(folder))
"""


@pytest.mark.parametrize(
    "step", ["log_model_artifacts", "finalize_logged_model", "create_model_version"]
)
def test_a_registration_killed_half_way_is_completed_once(
    server: Settings, name: str, adapter: Path, tmp_path: Path, step: str
) -> None:
    """Killed with -9 at a step and tried again: one version, whole."""
    run_id = opened(server, name)
    killed = python(KILLED, server, step, name, run_id, str(adapter))
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    made = registry.register_version(
        server, name=name, run_id=run_id, execution=name, folder=adapter
    )

    assert made.version == "1"
    fetched = registry.fetch_model(server, name, made.version, tmp_path / "back")
    assert (fetched / "adapter_model.safetensors").read_bytes() == b"weights"
    with registry.mlflow_client(server) as client:
        assert len(client.search_model_versions(f"name = '{name}'")) == 1
        experiment = client.get_run(run_id).info.experiment_id
        logged = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    assert len(logged) == 1


def test_the_champion_brings_its_metrics(server: Settings, name: str, adapter: Path) -> None:
    """An alias gives the version, its tags and the metrics of its run; none gives None."""
    assert registry.champion(server, name) is None
    run_id = opened(server, name)
    tracking.log_final(server, run_id, metrics={"accuracy": 0.97})
    for execution in ("x1", "x2"):
        made = registry.register_version(
            server,
            name=name,
            run_id=run_id,
            execution=execution,
            folder=adapter,
            tags={"oppen.dataset": "d"},
        )
    assert registry.champion(server, name) is None

    registry.set_alias(server, name, "champion", "1")
    registry.set_alias(server, name, "champion", made.version)
    registry.tag_version(server, name, made.version, {"checked": "yes"})

    champion = registry.champion(server, name)
    assert champion is not None
    assert (champion.version, champion.aliases) == ("2", ("champion",))
    assert champion.metrics["accuracy"] == 0.97
    assert champion.tags["oppen.dataset"] == "d"
    assert registry.get_version(server, name, "2") == champion
    assert champion.tags["checked"] == "yes"


def test_a_folder_comes_back_as_it_was(
    server: Settings, name: str, adapter: Path, tmp_path: Path
) -> None:
    """An adapter is fetched by number and by alias; its files are unchanged."""
    run_id = opened(server, name)
    made = registry.register_version(
        server, name=name, run_id=run_id, execution=name, folder=adapter
    )
    registry.set_alias(server, name, "challenger", made.version)

    for version in (made.version, "@challenger"):
        back = registry.fetch_model(server, name, version, tmp_path / f"back{version}")
        for file in adapter.iterdir():
            assert (back / file.name).read_bytes() == file.read_bytes()
    assert sorted(p.name for p in adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_what_does_not_exist_is_named(
    server: Settings, name: str, adapter: Path, tmp_path: Path
) -> None:
    """A missing version, an empty folder and a full target are errors of one line."""
    with pytest.raises(TrackingRefused, match=name):
        registry.fetch_model(server, name, "1", tmp_path / "back")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="'empty', which is empty or missing"):
        registry.register_version(
            server, name=name, run_id="r", execution="x", folder=tmp_path / "empty"
        )
    with pytest.raises(ValueError, match="not empty: give a new one"):
        registry.fetch_model(server, name, "1", adapter)


def test_a_batch_of_one_cannot_be_the_example(tmp_path: Path) -> None:
    """With one image the export would fix the batch size, so it is refused."""
    with pytest.raises(ValueError, match="give at least 2"):
        registry.save_classifier(None, tmp_path / "m", example=np.zeros((1, 2)))  # type: ignore[arg-type]
