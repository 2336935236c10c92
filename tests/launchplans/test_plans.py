"""Every launch plan of the project, whatever its module: a broken one fails silently when fired."""

import importlib
import pkgutil
import re
from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from flytekit import LaunchPlan
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.tools.translator import get_serializable

import launchplans
from accounting.rates import RateCard

SETTINGS = SerializationSettings(
    project="oppen",
    domain="development",
    version="test",
    image_config=ImageConfig(
        default_image=Image(name="default", fqn="oppen/training", tag="test"),
        images=[
            Image(name="training", fqn="oppen/training", tag="test"),
            Image(name="tasks", fqn="oppen/tasks", tag="test"),
        ],
    ),
)


def plans() -> list[LaunchPlan]:
    """All plans of all modules, also those that a module keeps in a mapping."""
    modules = [
        importlib.import_module(f"launchplans.{module.name}")
        for module in pkgutil.iter_modules(launchplans.__path__)
    ]
    found = {
        plan.name: plan
        for module in modules
        for value in vars(module).values()
        for plan in (value.values() if isinstance(value, dict) else [value])
        if isinstance(plan, LaunchPlan)
    }
    return [found[name] for name in sorted(found)]


PLANS = plans()
SCHEDULED = [plan for plan in PLANS if plan.schedule is not None]
each_plan = pytest.mark.parametrize("plan", PLANS, ids=[plan.name for plan in PLANS])
each_scheduled = pytest.mark.parametrize("plan", SCHEDULED, ids=[plan.name for plan in SCHEDULED])


@each_plan
def test_a_plan_serialises(plan: LaunchPlan) -> None:
    """A plan becomes a spec that Flyte accepts, with its workflow's interface."""
    spec = get_serializable({}, SETTINGS, plan)
    assert spec.to_flyte_idl().id.name == plan.name


@each_scheduled
def test_every_required_input_is_bound(plan: LaunchPlan) -> None:
    """Flyte accepts a scheduled plan with an unbound input, and never runs it."""
    kickoff = plan.schedule.kickoff_time_input_arg
    required = {
        name for name, parameter in plan.parameters.parameters.items() if parameter.required
    }
    assert required - {kickoff} == set()


@each_scheduled
def test_the_kickoff_argument_is_a_datetime_input(plan: LaunchPlan) -> None:
    """The scheduler fills an input of type datetime; a wrong name is dropped without a word."""
    kickoff = plan.schedule.kickoff_time_input_arg
    assert plan.workflow.python_interface.inputs[kickoff] is datetime


@each_scheduled
def test_the_schedule_has_five_plain_fields(plan: LaunchPlan) -> None:
    """No time zone, no seconds, no aliases: five fields that cron understands."""
    expression = plan.schedule.cron_schedule.schedule
    assert re.fullmatch(r"([\d*,/-]+ ){4}[\d*,/-]+", expression)
    assert croniter.is_valid(expression)


@each_scheduled
def test_one_run_at_a_time(plan: LaunchPlan) -> None:
    """A plan that is still running is not started again."""
    assert plan.concurrency.max_concurrency == 1


@each_scheduled
def test_every_slot_of_the_year_lies_in_a_cheap_band(plan: LaunchPlan) -> None:
    """Every firing, from a year before a leap day to a year after, is in a band under 1."""
    card = RateCard.load()
    start = datetime(2027, 3, 1, tzinfo=UTC)
    slots = croniter(plan.schedule.cron_schedule.schedule, start)
    dear = []
    while (slot := slots.get_next(datetime)) < start + timedelta(days=732):
        if card.band_at(slot).multiplier >= 1:
            dear.append(slot)
    assert dear == []


def test_there_are_plans() -> None:
    """The nightly plan exists under the name that people type."""
    assert "nightly-mnist" in {plan.name for plan in SCHEDULED}
