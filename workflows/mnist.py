"""Image classifiers, from a data set to a verified, priced, registered model.

pyflyte run workflows/mnist.py mnist_pipeline
pyflyte run workflows/mnist.py mnist_ddp_pipeline --dataset fashion-mnist
"""

from flytekit import workflow

from tasks.agree_terms import agree_terms
from tasks.evaluate_image import evaluate_classifier
from tasks.images import locate_images, prepare_images
from tasks.open_image_run import open_image_run
from tasks.price import price_run
from tasks.promote import promote_model
from tasks.records import Outcome, PreparedImages, Run, Trained
from tasks.register import register_model
from tasks.reload import reload_model
from tasks.store import store_model
from tasks.train_image import train_classifier
from tasks.train_image_elastic import (
    MAX_NODES,
    PROCESSES,
    train_classifier_ddp,
    train_classifier_nodes,
)
from training.classifier_config import ClassifierConfig

EXPERIMENT = "mnist"
DEFAULTS = ClassifierConfig()


@workflow
def finish_image_run(
    run: Run, images: PreparedImages, trained: Trained, min_accuracy: float
) -> Outcome:
    """Measures, bills, registers, stores and promotes what a training left; holds no GPU."""
    # Measure it on images that training never saw, and decide by the gate.
    evaluated = evaluate_classifier(
        run=run, images=images, trained=trained, min_accuracy=min_accuracy
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
def mnist_pipeline(
    dataset: str = "mnist-5k",
    config: ClassifierConfig = DEFAULTS,
    model_name: str = "mnist-cnn",
    min_accuracy: float = 0.97,
    budget_usd: float | None = None,
    over_budget: str = "refuse",
    deadline: str = "",
    priority: str = "normal",
    purchase: str = "on-demand",
    resume_from: str = "",
    checkpoint_seconds: float = 60.0,
    experiment: str = EXPERIMENT,
) -> Outcome:
    """Trains in one process: on one GPU, or on the CPU where there is none."""
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
    # Find out which images the name or address holds now.
    source = locate_images(dataset=dataset)
    # Check and pack them; the same images are packed once.
    images = prepare_images(source=source)
    # Price the planned run, and stop here if it does not fit.
    run = open_image_run(
        images=images,
        config=config,
        dataset=dataset,
        model_name=model_name,
        experiment=experiment,
        terms=terms,
        min_accuracy=min_accuracy,
    )
    # Train, resuming from the last checkpoint where there is one.
    trained = train_classifier(run=run, images=images, config=config)
    # Evaluate, price, register, store, reload, promote.
    finished = finish_image_run(run=run, images=images, trained=trained, min_accuracy=min_accuracy)
    return Outcome(summary=finished.summary)


@workflow
def mnist_ddp_pipeline(
    dataset: str = "mnist-5k",
    config: ClassifierConfig = DEFAULTS,
    model_name: str = "mnist-cnn",
    min_accuracy: float = 0.97,
    budget_usd: float | None = None,
    over_budget: str = "refuse",
    deadline: str = "",
    priority: str = "normal",
    purchase: str = "on-demand",
    resume_from: str = "",
    checkpoint_seconds: float = 60.0,
    experiment: str = EXPERIMENT,
) -> Outcome:
    """Trains with two processes on one node, each with its GPU or its share of the cores."""
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
    # Find out which images the name or address holds now.
    source = locate_images(dataset=dataset)
    # Check and pack them; the same images are packed once.
    images = prepare_images(source=source)
    # Price the planned run, and stop here if it does not fit.
    run = open_image_run(
        images=images,
        config=config,
        dataset=dataset,
        model_name=model_name,
        experiment=experiment,
        terms=terms,
        min_accuracy=min_accuracy,
        processes=PROCESSES,
    )
    # Train on both processes; every image is seen once per epoch over both.
    trained = train_classifier_ddp(run=run, images=images, config=config)
    # Evaluate, price, register, store, reload, promote.
    finished = finish_image_run(run=run, images=images, trained=trained, min_accuracy=min_accuracy)
    return Outcome(summary=finished.summary)


@workflow
def mnist_multinode_pipeline(
    dataset: str = "mnist",
    config: ClassifierConfig = DEFAULTS,
    model_name: str = "mnist-cnn",
    min_accuracy: float = 0.97,
    budget_usd: float | None = None,
    over_budget: str = "refuse",
    deadline: str = "",
    priority: str = "normal",
    purchase: str = "on-demand",
    resume_from: str = "",
    checkpoint_seconds: float = 60.0,
    experiment: str = EXPERIMENT,
) -> Outcome:
    """Trains on one to four nodes of a cluster that has the Kubeflow training operator."""
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
    # Find out which images the name or address holds now.
    source = locate_images(dataset=dataset)
    # Check and pack them; the same images are packed once.
    images = prepare_images(source=source)
    # Price the planned run at its largest, and stop here if it does not fit.
    run = open_image_run(
        images=images,
        config=config,
        dataset=dataset,
        model_name=model_name,
        experiment=experiment,
        terms=terms,
        min_accuracy=min_accuracy,
        nodes=MAX_NODES,
    )
    # Train on as many nodes as have joined.
    trained = train_classifier_nodes(run=run, images=images, config=config)
    # Evaluate, price, register, store, reload, promote.
    finished = finish_image_run(run=run, images=images, trained=trained, min_accuracy=min_accuracy)
    return Outcome(summary=finished.summary)
