"""The gate of the language-model pipelines refuses nonsense before anything is opened."""

import pytest
from flytekit.types.directory import FlyteDirectory

from tasks.open_text_run import open_text_run
from tasks.records import PreparedText, Terms
from training.language_config import LanguageConfig


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_an_improvement_that_is_no_factor_is_refused_before_training(value: float) -> None:
    """One line names the input, its value and the mend; no server is asked."""
    text = PreparedText(
        folder=FlyteDirectory("unread"),
        digest="0" * 64,
        base_model="small-gpt2",
        num_train_tokens=1_000,
        block_size=32,
    )
    with pytest.raises(ValueError, match=r"min_improvement is .*; give a positive factor"):
        open_text_run.task_function(
            text=text,
            config=LanguageConfig(),
            source="stdlib-topics",
            model_name="m",
            experiment="e",
            terms=Terms(),
            min_improvement=value,
        )
