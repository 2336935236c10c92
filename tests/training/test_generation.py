"""Batched decoding equals one-by-one decoding, whatever shares a batch."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from training.device import choose_placement
from training.generation import Answer, GenerationConfig, _Stops, generate, latency, sampler
from training.tiny_models import function_tokenizer, small_gemma, small_gpt2

PLACEMENT = choose_placement(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A tokenizer with FunctionGemma's control tokens."""
    return function_tokenizer(["some words to split into tokens"] * 3, vocab_size=300)


@pytest.fixture(scope="module")
def gemma(tokenizer: Any) -> Any:
    """A model with a window shorter than the prompts, whose random weights say varied things."""
    model = small_gemma(tokenizer=tokenizer, width=32, layers=4, heads=2, sliding_window=16)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return model


def _prompts(prefix: int, lengths: Sequence[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)

    def draw(count: int) -> list[int]:
        return torch.randint(20, 280, (count,), generator=generator).tolist()

    shared = draw(prefix)
    return [shared + draw(length) for length in lengths]


def _one_by_one(model: Any, prompt: Sequence[int], count: int, end: int) -> list[int]:
    """Greedy decoding as transformers does it, without padding, its own cache and masks."""
    output = model.generate(
        torch.tensor([list(prompt)]),
        attention_mask=torch.ones(1, len(prompt)),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=0,
    )
    return [token for token in output[0, len(prompt) :].tolist() if token != end]


@pytest.mark.parametrize("prefix", [0, 5, 40])
def test_batch_equals_one_by_one(gemma: Any, tokenizer: Any, prefix: int) -> None:
    """Prompts of different lengths, with and without a shared prefix, beyond the window."""
    prompts = _prompts(prefix, [1, 3, 9, 30, 4])
    config = GenerationConfig(max_new_tokens=24, batch_size=4)
    answers = generate(gemma, tokenizer, prompts, config=config, placement=PLACEMENT)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert list(answer.ids) == _one_by_one(gemma, prompt, 24, tokenizer.eos_token_id)
    assert len({answer.ids for answer in answers}) > 1


def test_gpt2_equals_one_by_one() -> None:
    """A model with learned positions and no window agrees as well."""
    tokenizer = function_tokenizer(["words"] * 3, vocab_size=300)
    model = small_gpt2(vocab_size=300, context=96, width=32, layers=2, heads=2, end_id=1)
    prompts = _prompts(8, [2, 12, 5])
    config = GenerationConfig(max_new_tokens=16)
    answers = generate(model, tokenizer, prompts, config=config, placement=PLACEMENT)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert list(answer.ids) == _one_by_one(model, prompt, 16, 1)


def test_rows_that_end_early_leave_the_others_alone(gemma: Any, tokenizer: Any) -> None:
    """A stop token of one row ends that row; the rest go on as if it had not been there."""
    prompts = _prompts(12, [3, 6, 9, 12])
    config = GenerationConfig(max_new_tokens=20)
    free = generate(gemma, tokenizer, prompts, config=config, placement=PLACEMENT)
    cut = free[1].ids[4]
    token = tokenizer.convert_ids_to_tokens(cut)
    config = GenerationConfig(max_new_tokens=20, stop=(token,))
    stopped = generate(gemma, tokenizer, prompts, config=config, placement=PLACEMENT)
    for one, other in zip(free, stopped, strict=True):
        expected = one.ids[: one.ids.index(cut)] if cut in one.ids else one.ids
        assert other.ids == expected
        assert other.finish == ("stop" if cut in one.ids else "length")


def test_stop_text_over_several_tokens_is_not_part_of_the_answer(
    gemma: Any, tokenizer: Any
) -> None:
    """A stop sequence without a token of its own is found in the text."""
    prompts = _prompts(0, [8])
    config = GenerationConfig(max_new_tokens=20)
    (free,) = generate(gemma, tokenizer, prompts, config=config, placement=PLACEMENT)
    stop = tokenizer.decode(free.ids[5:8])
    config = GenerationConfig(max_new_tokens=20, stop=(stop,))
    (answer,) = generate(gemma, tokenizer, prompts, config=config, placement=PLACEMENT)
    assert answer.finish == "stop"
    assert stop not in answer.text
    assert free.text.startswith(answer.text)


def test_stop_text_that_shares_tokens_with_the_answer_takes_no_letter_of_it() -> None:
    """Plain text may merge the end of a call and the start of what follows into one token."""
    tokenizer = function_tokenizer(["<call><stop> <call>"] * 9, vocab_size=300)
    ids = tokenizer("so <call><stop>", add_special_tokens=False)["input_ids"]
    assert any("><" in tokenizer.decode([token]) for token in ids)
    stops = _Stops(tokenizer, ("<stop",))
    assert stops.before_end(ids[:-5]) is None
    kept, text = stops.before_end(ids) or ([], "")
    assert text == "so <call>"
    assert text.startswith(tokenizer.decode(kept))
    assert len(kept) < len(ids)


def test_sampling_is_seeded_and_restores_training_mode(gemma: Any, tokenizer: Any) -> None:
    """Equal seeds draw equal texts, others do not; the model is left as it was."""
    gemma.train()
    config = GenerationConfig(max_new_tokens=12)

    def draw(seed: int) -> list[str]:
        answers = generate(
            gemma,
            tokenizer,
            _prompts(4, [2, 3]),
            config=config,
            placement=PLACEMENT,
            choose=sampler(seed=seed, temperature=2.0),
        )
        return [answer.text for answer in answers]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert gemma.training


def test_prompts_that_cannot_be_answered_are_refused(gemma: Any, tokenizer: Any) -> None:
    """An empty prompt, and one without room for an answer."""
    with pytest.raises(ValueError, match="prompt 2 is empty"):
        generate(gemma, tokenizer, [[5], []], config=GenerationConfig(), placement=PLACEMENT)
    with pytest.raises(ValueError, match="exceeds the model's context of 4096"):
        generate(gemma, tokenizer, [[5] * 4000], config=GenerationConfig(), placement=PLACEMENT)
    with pytest.raises(ValueError, match=r"temperature is 0\.0"):
        sampler(temperature=0.0)


def test_latency_needs_answers() -> None:
    """Percentiles of nothing are refused."""
    answers = [Answer(ids=(), text="", finish="stop", seconds=s / 100) for s in range(100)]
    assert latency(answers, 0.5) == 0.5
    assert latency(answers, 0.95) == 0.95
    with pytest.raises(ValueError, match="no answer"):
        latency([], 0.5)
