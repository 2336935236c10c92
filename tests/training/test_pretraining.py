"""A small model's schooling: deterministic, about the format alone, and it learns."""

from dataclasses import replace

import pytest

from training.conversations import tokenise_all
from training.function_calls import parse_output
from training.pretraining import PRETRAINING, _plain_tokens, pretrain, random_chats
from training.tiny_models import function_tokenizer, small_gemma

WORDS = ("restart", "grafana", "monitoring", "$NAME", "flux-system", "alert")


def test_chats_depend_on_the_seed_alone_and_their_calls_parse() -> None:
    """Equal seeds, equal chats; every call is well formed and reads back as it was meant."""
    tokenizer = function_tokenizer(WORDS, vocab_size=320)
    chats = random_chats(tokenizer, WORDS, count=40)
    assert chats == random_chats(tokenizer, WORDS, count=40)
    assert chats != random_chats(tokenizer, WORDS, count=40, seed=1)
    calls = 0
    for chat in chats:
        _, answer = chat["messages"]
        text = tokenizer.apply_chat_template(chat["messages"], tokenize=False)
        said = text.partition("<start_of_turn>model\n")[2]
        for call in parse_output(said.replace("<start_function_response>", "")).calls:
            calls += 1
            assert [call.to_message()] == answer["tool_calls"]
    assert 20 < calls < 40


def test_every_token_is_an_answer_sometime() -> None:
    """An adapter cannot raise a token that pre-training pushed down, so none is left out."""
    tokenizer = function_tokenizer(WORDS, vocab_size=320)
    chats = tokenise_all(random_chats(tokenizer, WORDS, count=1500), tokenizer)
    said = {token for c in chats for start, end in c.answers for token in c.ids[start:end]}
    plain = [
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in _plain_tokens(tokenizer)
    ]
    assert {ids[0] for ids in plain if len(ids) == 1} <= said


def test_schooling_lowers_the_loss() -> None:
    """A few steps already make the format likelier."""
    tokenizer = function_tokenizer(WORDS, vocab_size=320)
    model = small_gemma(tokenizer=tokenizer, width=32, layers=2, heads=2)
    config = replace(
        PRETRAINING,
        steps=20,
        warmup_fraction=0.2,
        learning_rate=1e-2,
        device="cpu",
        precision="fp32",
    )
    result = pretrain(model, tokenizer, WORDS, config=config, batch_size=8)
    assert result.history[-1].loss < 0.8 * result.history[0].loss


def test_texts_without_words_are_refused() -> None:
    """There is nothing to make chats of."""
    tokenizer = function_tokenizer(WORDS, vocab_size=320)
    model = small_gemma(tokenizer=tokenizer, width=32, layers=2, heads=2)
    with pytest.raises(ValueError, match="texts has no word"):
        pretrain(model, tokenizer, [" "])
