"""`oppen cost forecast | recommend | plan`: what lies ahead, and how it could cost less."""

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from operations import cost_options as options
from operations.exits import Exit

if TYPE_CHECKING:
    from accounting.forecast import TimeForecast
    from accounting.preemption import Preemption
    from accounting.scaling import ScalingModel

StepSeconds = Annotated[
    float | None, typer.Option(help="Seconds of a step, stated instead of measured.")
]


def forecast(
    *,
    steps_file: Annotated[
        str | None,
        typer.Argument(help="File with the seconds of each step so far, - for standard input."),
    ] = None,
    remaining_steps: Annotated[int, typer.Option(help="Steps still to come.")],
    new_run: Annotated[
        bool, typer.Option("--new-run", help="The steps to come are another run's: it warms up.")
    ] = False,
    step_seconds: StepSeconds = None,
    margin: Annotated[float, typer.Option(help="How wrong a stated time may be.")] = 0.25,
    cores: options.Cores = 1,
    memory_gib: options.Memory = 0,
    gpus: options.Gpus = 0,
    gpu_type: options.GpuType = "generic",
    nodes: options.Nodes = 1,
    processes: options.Processes = 1,
    start: options.Start = None,
    spot: options.Spot = False,
    priority: options.Priority = "normal",
    spent_usd: Annotated[float, typer.Option(help="What the run has cost so far.")] = 0,
    budget_usd: options.Budget = None,
    deadline: options.Deadline = None,
    rates: options.Card = None,
    as_json: options.AsJson = False,
) -> None:
    """Forecasts what a run still takes and costs, with 95% intervals, from its step timings.

    The file holds one number of seconds per line, or a JSON list of them. Exit code 4 means that
    the run cannot fit, even at the lower end of the interval.

    Example: `oppen cost forecast steps.txt --remaining-steps 5000 --cores 4 --gpus 1
    --budget-usd 2`
    """
    from accounting.forecast import forecast as forecast_of
    from accounting.quantities import exact

    with options.errors():
        result = forecast_of(
            _step_times(
                steps_file,
                remaining_steps=remaining_steps,
                step_seconds=step_seconds,
                margin=margin,
                new_run=new_run,
            ),
            start=options.at_or_now(start, field="--start"),
            card=options.load_card(rates),
            resources=options.requested(
                cores=cores,
                memory_gib=memory_gib,
                gpus=gpus,
                gpu_type=gpu_type,
                nodes=nodes,
                processes=processes,
            ),
            spot=spot,
            priority=priority,
            spent_usd=exact(spent_usd, field="--spent-usd"),
        )
        fits = None
        if budget_usd is not None or deadline is not None:
            until = None if deadline is None else options.at_or_now(deadline, field="--deadline")
            fits = result.fits(budget_usd=_money(budget_usd), deadline=until)
        if as_json:
            options.print_json({**result.to_record(), "fits": fits})
        else:
            from operations.cost_tables import print_forecast

            print_forecast(result, fits=fits)
        if fits is False:
            raise typer.Exit(Exit.BUDGET)


def recommend(
    run_file: Annotated[
        str, typer.Argument(help="JSON file with what is known about the run, - for stdin.")
    ],
    *,
    rates: options.Card = None,
    as_json: options.AsJson = False,
) -> None:
    """Recommends ways to spend less on a run, each saving computed from the run's own data.

    The file needs `attempts`, as `oppen cost bill` reads them. Each further field opens a way:
    `steps`, `step_seconds`, `batch_size`, `batch_points`, `gpu_memory_gib`,
    `gpu_memory_limit_gib`, `metric`, `precision`, `precision_points`, `scaling`, `preemption`,
    `most_workers` and `wait_hours`.

    Example: `oppen cost recommend run.json --json`
    """
    from accounting.recommend import recommend as advice_for
    from operations.cost_runs import read_run

    with options.errors():
        advice = advice_for(read_run(run_file, card=options.load_card(rates)))
        if as_json:
            options.print_json(advice.to_record())
            return
        from operations.cost_tables import print_advice

        print_advice(advice)


def plan(
    *,
    steps: Annotated[int, typer.Option(help="Steps to do.")],
    step_seconds: Annotated[float, typer.Option(help="Seconds of a step on one worker.")],
    startup_seconds: Annotated[
        float, typer.Option(help="Charged seconds before the first step.")
    ] = 0,
    cores: options.Cores = 1,
    memory_gib: options.Memory = 0,
    gpus: options.Gpus = 0,
    gpu_type: options.GpuType = "generic",
    processes: options.Processes = 1,
    workers: Annotated[
        list[int] | None, typer.Option(help="Numbers of workers (nodes) to try; repeat it.")
    ] = None,
    network: Annotated[str, typer.Option(help="Link between workers: 1gbe to 100gbe.")] = "1gbe",
    parameters: Annotated[
        int | None, typer.Option(help="Trained parameters; needed for more than one worker.")
    ] = None,
    precision: Annotated[str, typer.Option(help="Precision of what is sent.")] = "fp32",
    preemptions_per_hour: Annotated[
        float | None, typer.Option(help="Plans spot too, with this rate for one worker.")
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Seconds of work between two checkpoints.")
    ] = 600,
    restart_seconds: Annotated[
        float, typer.Option(help="Seconds from a preemption to the next step.")
    ] = 120,
    start: options.Start = None,
    deadline: options.Deadline = None,
    budget_usd: options.Budget = None,
    priority: options.Priority = "normal",
    picture: Annotated[
        Path | None, typer.Option(help="Draw the front of time against cost into this SVG file.")
    ] = None,
    days: Annotated[float, typer.Option(help="How many days ahead a start may lie.")] = 7,
    rates: options.Card = None,
    as_json: options.AsJson = False,
) -> None:
    """Finds the cheapest starts before a deadline: now, tonight, on the weekend, at best.

    Example: `oppen cost plan --steps 20000 --step-seconds 0.8 --cores 4 --gpus 1 --workers 1
    --workers 2 --parameters 82000000 --preemptions-per-hour 0.05`
    """
    from accounting.job import Job
    from accounting.plan import PlanError
    from accounting.plan import plan as plan_of
    from accounting.quantities import exact

    counts = sorted(set(workers or [1]))
    with options.errors(PlanError):
        card = options.load_card(rates)
        job = Job(
            steps=steps,
            step_seconds=step_seconds,
            startup_seconds=startup_seconds,
            resources=options.requested(
                cores=cores,
                memory_gib=memory_gib,
                gpus=gpus,
                gpu_type=gpu_type,
                nodes=1,
                processes=processes,
            ),
            scaling=_scaling(
                step_seconds,
                workers=max(counts),
                parameters=parameters,
                precision=precision,
                network=network,
            ),
        )
        found = plan_of(
            job,
            card=card,
            now=options.at_or_now(start, field="--start"),
            deadline=None if deadline is None else options.at_or_now(deadline, field="--deadline"),
            budget_usd=_money(budget_usd),
            workers=counts,
            preemption=_preemption(preemptions_per_hour, checkpoint_seconds, restart_seconds),
            priority=priority,
            horizon=timedelta(days=float(exact(days, field="--days"))),
        )
        if picture is not None:
            from accounting.plan_picture import front_svg

            options.write_text(front_svg(found, zone=card.zone), picture, option="--picture")
        if as_json:
            options.print_json(found.to_record())
            return
        from operations.cost_tables import print_plan

        print_plan(found)


def _step_times(
    steps_file: str | None,
    *,
    remaining_steps: int,
    step_seconds: float | None,
    margin: float,
    new_run: bool,
) -> "TimeForecast":
    """Forecasts time from a file of measured steps, or from a stated step time."""
    from accounting.forecast import forecast_time, stated_time

    if steps_file is None and step_seconds is not None:
        return stated_time(remaining_steps, step_seconds=step_seconds, margin=margin)
    if steps_file is None or step_seconds is not None:
        raise ValueError("give step times once: a file of measured ones, or --step-seconds 0.8")
    return forecast_time(
        _numbers(options.read_text(steps_file), steps_file),
        remaining_steps=remaining_steps,
        new_run=new_run,
    )


def _numbers(text: str, source: str) -> list[float]:
    """Reads a JSON list of numbers, or one number per line."""
    try:
        content = json.loads(text) if text.lstrip().startswith("[") else text.split()
        return [float(value) for value in content]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{source} holds no step times ({error}); write one number of seconds per line"
        ) from error


def _scaling(
    step_seconds: float, *, workers: int, parameters: int | None, precision: str, network: str
) -> "ScalingModel | None":
    """States how a step shrinks with workers: all of it is compute, no communication is hidden."""
    from accounting.scaling import NETWORKS, ScalingModel, gradient_bytes

    if workers == 1:
        return None
    if parameters is None:
        raise ValueError(
            f"--workers is {workers} and --parameters is missing; give the number of trained "
            "parameters, which decides what workers send each other"
        )
    if network not in NETWORKS:
        raise ValueError(f"--network is {network!r}; use one of {', '.join(NETWORKS)}")
    return ScalingModel(
        compute_seconds=step_seconds,
        payload_bytes=gradient_bytes(parameters, precision=precision),
        network=NETWORKS[network],
    )


def _preemption(
    per_hour: float | None, checkpoint_seconds: float, restart_seconds: float
) -> "Preemption | None":
    from accounting.preemption import Preemption

    if per_hour is None:
        return None
    return Preemption(
        per_hour=per_hour, checkpoint_seconds=checkpoint_seconds, restart_seconds=restart_seconds
    )


def _money(amount: float | None) -> Decimal | None:
    from accounting.quantities import exact

    return None if amount is None else exact(amount, field="--budget-usd")
