"""Language models, from text to a verified, priced, registered model.

    pyflyte run workflows/language_model.py language_model_pipeline
    pyflyte run workflows/language_model.py language_model_pipeline \
        --source stdlib-topics --base_model small-gpt2

The first fetches DistilGPT2 and WikiText-2 from the hub, the second needs no network.
"""

from flytekit import workflow

from tasks.agree_terms import agree_terms
from tasks.evaluate_text import evaluate_language_model
from tasks.open_text_run import open_text_run
from tasks.price import price_run
from tasks.promote import promote_model
from tasks.records import Outcome, PreparedText, Run, Trained
from tasks.register import register_model
from tasks.reload import reload_model
from tasks.store import store_model
from tasks.text import locate_text, prepare_text
from tasks.train_image_elastic import PROCESSES
from tasks.train_text import train_language_model
from tasks.train_text_elastic import train_language_model_ddp
from training.language_config import LanguageConfig

EXPERIMENT = "language-model"
DEFAULTS = LanguageConfig()


@workflow
def finish_text_run(
    run: Run, text: PreparedText, trained: Trained, config: LanguageConfig, min_improvement: float
) -> Outcome:
    """Measures, bills, registers, stores and promotes what a training left."""
    # Perplexity before and after on text that was neither trained nor selected on.
    evaluated = evaluate_language_model(
        run=run, text=text, trained=trained, config=config, min_improvement=min_improvement
    )
    # Bill every attempt of the training, also the killed ones.
    priced = price_run(run=run, trained=trained)
    # Complete the MLflow run and make the model a version of it, once.
    registered = register_model(run=run, trained=trained, evaluated=evaluated, priced=priced)
    # Upload it, manifest last, read it back and compare.
    stored = store_model(run=run, evaluated=evaluated, registered=registered)
    # Load it from both places in a fresh process: the same logits must come out.
    difference = reload_model(registered=registered, stored=stored)
    # Only now may an alias point at it.
    promoted = promote_model(
        run=run,
        trained=trained,
        evaluated=evaluated,
        priced=priced,
        registered=registered,
        stored=stored,
        reload_difference=difference,
    )
    return Outcome(summary=promoted.summary)


@workflow
def language_model_pipeline(
    source: str = "wikitext-2",
    base_model: str = "distilgpt2",
    block_size: int = 256,
    vocab_size: int = 4096,
    config: LanguageConfig = DEFAULTS,
    model_name: str = "language-model",
    min_improvement: float = 1.05,
    budget_usd: float | None = None,
    over_budget: str = "refuse",
    deadline: str = "",
    priority: str = "normal",
    purchase: str = "on-demand",
    resume_from: str = "",
    checkpoint_seconds: float = 60.0,
    experiment: str = EXPERIMENT,
) -> Outcome:
    """Tunes in one process: on one GPU, or on the CPU where there is none."""
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
    # Find out which documents the source holds now.
    located = locate_text(text=source)
    # Tokenise and pack them; the same documents are packed once.
    text = prepare_text(
        source=located, base_model=base_model, block_size=block_size, vocab_size=vocab_size
    )
    # Price the planned run, and stop here if it does not fit.
    run = open_text_run(
        text=text,
        config=config,
        source=source,
        model_name=model_name,
        experiment=experiment,
        terms=terms,
        min_improvement=min_improvement,
    )
    # Tune, resuming from the last checkpoint where there is one.
    trained = train_language_model(run=run, text=text, config=config)
    # Evaluate, price, register, store, reload, promote.
    finished = finish_text_run(
        run=run, text=text, trained=trained, config=config, min_improvement=min_improvement
    )
    return Outcome(summary=finished.summary)


@workflow
def language_model_ddp_pipeline(
    source: str = "wikitext-2",
    base_model: str = "distilgpt2",
    block_size: int = 256,
    vocab_size: int = 4096,
    config: LanguageConfig = DEFAULTS,
    model_name: str = "language-model",
    min_improvement: float = 1.05,
    budget_usd: float | None = None,
    over_budget: str = "refuse",
    deadline: str = "",
    priority: str = "normal",
    purchase: str = "on-demand",
    resume_from: str = "",
    checkpoint_seconds: float = 60.0,
    experiment: str = EXPERIMENT,
) -> Outcome:
    """Tunes with two processes on one node, each with its GPU or its share of the cores."""
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
    # Find out which documents the source holds now.
    located = locate_text(text=source)
    # Tokenise and pack them; the same documents are packed once.
    text = prepare_text(
        source=located, base_model=base_model, block_size=block_size, vocab_size=vocab_size
    )
    # Price the planned run, and stop here if it does not fit.
    run = open_text_run(
        text=text,
        config=config,
        source=source,
        model_name=model_name,
        experiment=experiment,
        terms=terms,
        min_improvement=min_improvement,
        processes=PROCESSES,
    )
    # Tune on both processes; the loss is the mean over the tokens of both.
    trained = train_language_model_ddp(run=run, text=text, config=config)
    # Evaluate, price, register, store, reload, promote.
    finished = finish_text_run(
        run=run, text=text, trained=trained, config=config, min_improvement=min_improvement
    )
    return Outcome(summary=finished.summary)
