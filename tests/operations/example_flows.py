"""A workflow whose inputs have every type that the command line can give."""

# ruff: noqa: ARG001, B006 - the signatures are the point; Flyte copies defaults when it compiles

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path

from flytekit import CronSchedule, Labels, LaunchPlan, Resources, task, workflow
from flytekit.extras.accelerators import T4
from flytekit.types.file import FlyteFile


class Size(Enum):
    """An input with a few allowed words."""

    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """A mapping within a mapping."""

    name: str = "adamw"
    learning_rate: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Config:
    """An input of several fields."""

    epochs: int = 10
    optimizer: Optimizer = field(default_factory=Optimizer)


@task(requests=Resources(cpu="500m", mem="512Mi"))
def prepare(data: FlyteFile | None, size: Size) -> str:
    """A light task."""
    return size.value


@task(requests=Resources(cpu="4", mem="8Gi", gpu="1"), limits=Resources(gpu="1"), accelerator=T4)
def train(config: Config, text: str, seeds: list[int], budget_usd: float | None) -> float:
    """The dear task."""
    return 0.0


@workflow
def pipeline(
    name: str,
    config: Config = Config(),
    seeds: list[int] = [1, 2],
    rates: dict[str, float] = {},
    verbose: bool = False,
    data: FlyteFile | None = None,
    size: Size = Size.SMALL,
    patience: timedelta = timedelta(minutes=5),
    budget_usd: float | None = None,
    deadline: datetime | None = None,
    priority: str = "normal",
    purchase: str = "on-demand",
    over_budget: str = "refuse",
) -> float:
    """Prepares, then trains."""
    text = prepare(data=data, size=size)
    return train(config=config, text=text, seeds=seeds, budget_usd=budget_usd)


@workflow
def free(size: Size = Size.SMALL) -> str:
    """Takes no terms at all."""
    return prepare(data=None, size=size)


@workflow
def timed(kickoff: datetime) -> str:
    """Must know when it was started."""
    return prepare(data=None, size=Size.SMALL)


morning = LaunchPlan.get_or_create(
    timed,
    name="morning",
    schedule=CronSchedule(schedule="0 6 * * *", kickoff_time_input_arg="kickoff"),
)


nightly = LaunchPlan.get_or_create(
    pipeline,
    name="nightly",
    default_inputs={"name": "night"},
    fixed_inputs={"priority": "background"},
    schedule=CronSchedule(schedule="0 3 * * *"),
    labels=Labels({"team": "vision"}),
)


def register_examples(config: Path, *, version: str) -> None:
    """Registers the example workflows and their plans through FlyteRemote."""
    from flytekit.configuration import Config, Image, ImageConfig, SerializationSettings
    from flytekit.remote import FlyteRemote

    image = Image(name="default", fqn="registry.example/tasks", tag=version)
    settings = SerializationSettings(
        image_config=ImageConfig(default_image=image, images=[image]),
        project="oppen",
        domain="development",
        version=version,
    )
    remote = FlyteRemote(
        Config.auto(str(config)), default_project="oppen", default_domain="development"
    )
    for flow in (pipeline, free, timed):
        remote.register_workflow(flow, settings, version=version)
    for plan in (nightly, morning):
        remote.register_launch_plan(plan, version=version, serialization_settings=settings)
