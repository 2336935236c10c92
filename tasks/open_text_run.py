"""The gate of the language-model pipelines."""

from dataclasses import asdict

from flytekit import task

from accounting.speed import Work
from tasks.machines import GPU, GPU_PAIR, LIGHT
from tasks.opening import Planned, open_run
from tasks.records import PreparedText, Run, Terms
from training.language_config import LanguageConfig
from training.language_gate import check_min_improvement

STARTUP_SECONDS = 15.0
"""Imports, the model and the first measurement before the first step."""

PARAMETERS = 82e6
"""Weights assumed where no run was measured: those of DistilGPT2."""


@task(enable_deck=True, **LIGHT.options())
def open_text_run(
    text: PreparedText,
    config: LanguageConfig,
    source: str,
    model_name: str,
    experiment: str,
    terms: Terms,
    min_improvement: float,
    processes: int = 1,
) -> Run:
    """Prices the planned training and stops here if it does not fit; opens the MLflow run.

    Training costs about 6 FLOP per weight and token (Kaplan et al. 2020, section 2.1).
    """
    check_min_improvement(min_improvement)
    settings = {f"finetune.{key}": value for key, value in asdict(config.finetune).items()}
    own = {key: value for key, value in asdict(config).items() if key != "finetune"}
    return open_run(
        Planned(
            kind=f"{text.base_model}/block-{text.block_size}/batch-{config.batch_size}",
            work=Work(
                items=config.tokens_to_train(
                    text.num_train_tokens, block_size=text.block_size, world_size=processes
                ),
                flop_per_item=6 * PARAMETERS,
                unit="tokens",
                startup_seconds=STARTUP_SECONDS,
            ),
            speed_metric="train/tokens_per_second",
            machine=GPU_PAIR if processes > 1 else GPU,
            processes=processes,
        ),
        terms,
        model_name=model_name,
        experiment=experiment,
        tags={"oppen.dataset": text.digest, "oppen.kind": "language-model"},
        params={**settings, **own, "source": source, "base_model": text.base_model},
    )
