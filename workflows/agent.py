"""Agents, from a runbook to a verified, priced, registered and published model.

    pyflyte run workflows/agent.py agent_training_pipeline --agent_name agent-sre
    pyflyte run workflows/agent.py agent_training_pipeline \
        --agent_name agent-sre --model_name small-gemma --overrides '{"lora": {"rank": 32}}'
    pyflyte run workflows/agent.py retrain_if_needed --agent_name agent-sre

The first tunes FunctionGemma of the hub, the second needs no network.
"""

from datetime import datetime
from typing import Any, cast

from flytekit import conditional, workflow

from tasks.agent_base import fit_agent_examples, locate_base, prepare_base
from tasks.agent_data import locate_agent, prepare_agent
from tasks.agent_records import AgentOverrides, BaseSource, PreparedAgent
from tasks.agree_terms import agree_terms
from tasks.evaluate_agent import evaluate_agent
from tasks.export_agent import export_agent
from tasks.open_agent_run import open_agent_run
from tasks.price import price_run
from tasks.promote import promote_model
from tasks.publish import keep_champion, publish_agent
from tasks.records import Outcome, Terms
from tasks.register import register_model
from tasks.reload_agent import reload_agent
from tasks.retrain import check_model_performance, compare_with_champion, no_need
from tasks.store import store_model
from tasks.train_agent import train_agent
from tasks.window import check_window
from training.agent_base import SmallBase
from training.agent_config import AgentTraining

EXPERIMENT = "agents"
AS_IN_FILE = AgentOverrides()
SMALL_BASE = SmallBase()


@workflow
def tune_and_publish(
    data: PreparedAgent,
    origin: BaseSource,
    config: AgentTraining,
    small_base: SmallBase,
    terms: Terms,
    git_repository: str,
    git_branch: str,
    experiment: str,
) -> Outcome:
    """Tunes an agent whose data set is prepared, and takes the result as far as it may go."""
    # Fetch the base model, or build and pre-train the small one; once.
    base = prepare_base(source=origin, data=data, small_base=small_base)
    # Count the examples in its tokens; one that is too long ends the run here.
    fitted = fit_agent_examples(data=data, base=base, config=config)
    # Price the planned run, and stop here if it does not fit.
    opened = open_agent_run(
        data=data,
        base=base,
        fitted=fitted,
        config=config,
        experiment=experiment,
        terms=terms,
    )
    # Tune with LoRA, resuming from the last checkpoint where there is one.
    trained = train_agent(run=opened.run, data=data, base=base, config=config)
    # Decode the test sets with base and tuned model, and decide by the gate.
    evaluated = evaluate_agent(run=opened.run, data=data, base=base, trained=trained, config=config)
    # Bill every attempt of the training, also the killed ones.
    priced = price_run(run=opened.run, trained=trained)
    # Complete the MLflow run and make the adapter a version of it, once.
    registered = register_model(run=opened.run, trained=trained, evaluated=evaluated, priced=priced)
    # Write the forms that the agent's settings ask for.
    exported = export_agent(evaluated=evaluated, registered=registered, base=base, config=config)
    # Upload all of it, manifest last, read it back and compare.
    stored = store_model(
        run=opened.run, evaluated=exported, registered=registered, prefix=opened.prefix
    )
    # Load it from both places in a fresh process: the same answers must come out.
    difference = reload_agent(registered=registered, stored=stored, base=base)
    # Only now may an alias point at it.
    promoted = promote_model(
        run=opened.run,
        trained=trained,
        evaluated=evaluated,
        priced=priced,
        registered=registered,
        stored=stored,
        reload_difference=difference,
    )
    # Tell the agent's repository which version is in force.
    published = publish_agent(
        run=opened.run,
        registered=registered,
        promoted=promoted.summary,
        git_repository=git_repository,
        git_branch=git_branch,
    )
    return Outcome(summary=published.summary)


@workflow
def agent_training_pipeline(
    agent_name: str = "agent-sre",
    model_name: str | None = None,
    runbook_path: str | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    iters: int | None = None,
    overrides: AgentOverrides = AS_IN_FILE,
    agents: str = "",
    small_base: SmallBase = SMALL_BASE,
    force_retrain: bool = False,
    budget_usd: float | None = None,
    over_budget: str = "refuse",
    deadline: str = "",
    priority: str = "normal",
    purchase: str = "on-demand",
    resume_from: str = "",
    checkpoint_seconds: float = 60.0,
    git_repository: str = "",
    git_branch: str = "main",
    experiment: str = EXPERIMENT,
) -> Outcome:
    """Trains an agent, unless its champion came from the same data, base model and settings."""
    # Refuse terms that cannot be kept, before anything is fetched.
    terms = agree_terms(
        budget_usd=budget_usd,
        over_budget=over_budget,
        deadline=deadline,
        priority=priority,
        purchase=purchase,
        resume_from=resume_from,
        checkpoint_seconds=checkpoint_seconds,
    )
    # Read settings, runbook and tools as they are now.
    located = locate_agent(
        agent_name=agent_name,
        agents=agents,
        model_name=model_name,
        runbook_path=runbook_path,
        learning_rate=learning_rate,
        batch_size=batch_size,
        iters=iters,
        overrides=overrides,
        git_repository=git_repository,
    )
    # Write the examples; the same content is prepared once.
    data = prepare_agent(source=located.source)
    # Find out which weights the base model has now.
    origin = locate_base(config=located.config, data=data, small_base=small_base)
    # Compare all of it with what the champion was made from.
    need = compare_with_champion(data=data, base=origin, config=located.config, force=force_retrain)
    # Train, or end with the reason.
    outcome = (
        conditional("changed")
        .if_(need.is_needed.is_true())
        .then(
            tune_and_publish(
                data=data,
                origin=origin,
                config=located.config,
                small_base=small_base,
                terms=terms,
                git_repository=git_repository,
                git_branch=git_branch,
                experiment=experiment,
            )
        )
        .else_()
        .then(
            keep_champion(
                agent_name=agent_name,
                reason=need.reason,
                git_repository=git_repository,
                git_branch=git_branch,
            )
        )
    )
    # Flyte unpacks the only output of a branch, so `outcome` is the summary itself.
    return Outcome(summary=outcome)


@workflow
def retrain_if_needed(
    agent_name: str = "agent-sre",
    force_retrain: bool = False,
    model_name: str | None = None,
    runbook_path: str | None = None,
    overrides: AgentOverrides = AS_IN_FILE,
    agents: str = "",
    small_base: SmallBase = SMALL_BASE,
    budget_usd: float | None = None,
    over_budget: str = "refuse",
    deadline: str = "",
    priority: str = "normal",
    purchase: str = "on-demand",
    checkpoint_seconds: float = 60.0,
    git_repository: str = "",
    git_branch: str = "main",
    experiment: str = EXPERIMENT,
    window_is_open: bool = True,
    window_reason: str = "",
) -> Outcome:
    """Trains an agent whose champion misses a threshold or whose runbook or tools changed.

    `window_is_open` and `window_reason` are what a scheduled run found out about its start: where
    it must not start, nothing is measured and nothing is trained.
    """
    # Refuse terms that cannot be kept, before anything is fetched.
    terms = agree_terms(
        budget_usd=budget_usd,
        over_budget=over_budget,
        deadline=deadline,
        priority=priority,
        purchase=purchase,
        resume_from="",
        checkpoint_seconds=checkpoint_seconds,
    )
    # Read settings, runbook and tools as they are now.
    located = locate_agent(
        agent_name=agent_name,
        agents=agents,
        model_name=model_name,
        runbook_path=runbook_path,
        learning_rate=None,
        batch_size=None,
        iters=None,
        overrides=overrides,
        git_repository=git_repository,
    )
    # Write the examples; the same content is prepared once.
    data = prepare_agent(source=located.source)
    # Find out which weights the base model has now.
    origin = locate_base(config=located.config, data=data, small_base=small_base)
    # Ask the champion the present test sets, and compare its data with the present. The decision
    # to look and the decision to train follow each other: of a conditional within another's branch
    # flytekit runs every branch on one machine (flyte#6426).
    is_needed, reason = (
        conditional("window")
        .if_(cast("Any", window_is_open).is_true())
        .then(
            check_model_performance(data=data, config=located.config, force_retrain=force_retrain)
        )
        .else_()
        .then(no_need(reason=window_reason))
    )
    # Train, or end with the reason.
    outcome = (
        conditional("need")
        .if_(is_needed.is_true())
        .then(
            tune_and_publish(
                data=data,
                origin=origin,
                config=located.config,
                small_base=small_base,
                terms=terms,
                git_repository=git_repository,
                git_branch=git_branch,
                experiment=experiment,
            )
        )
        .else_()
        .then(
            keep_champion(
                agent_name=agent_name,
                reason=reason,
                git_repository=git_repository,
                git_branch=git_branch,
            )
        )
    )
    # Flyte unpacks the only output of a branch, so `outcome` is the summary itself.
    return Outcome(summary=outcome)


@workflow
def weekly_retraining(
    kickoff_time: datetime,
    agent_name: str,
    agents: str = "",
    force_retrain: bool = False,
    budget_usd: float | None = None,
    priority: str = "background",
    purchase: str = "on-demand",
    git_repository: str = "",
    git_branch: str = "main",
    max_delay_minutes: int = 60,
    max_multiplier: float = 0.5,
) -> Outcome:
    """Considers retraining if the kickoff is fresh and the band is cheap; else says why not."""
    # Skip what the scheduler fires late, and what falls into an expensive band.
    window = check_window(
        kickoff_time=kickoff_time,
        max_delay_minutes=max_delay_minutes,
        max_multiplier=max_multiplier,
    )
    # Look whether training is needed, unless the window is closed.
    considered = retrain_if_needed(
        agent_name=agent_name,
        agents=agents,
        force_retrain=force_retrain,
        budget_usd=budget_usd,
        priority=priority,
        purchase=purchase,
        git_repository=git_repository,
        git_branch=git_branch,
        window_is_open=window.is_open,
        window_reason=window.reason,
    )
    return Outcome(summary=considered.summary)
