"""Tokenizers trained here, and the checks before a run."""

from types import SimpleNamespace

import pytest

from training.tokenizer import check_fits, padding_id, tokenizer_digest, train_tokenizer

TEXTS = ("the quick brown fox jumps over the lazy dog, café 木",) * 3


def test_training_is_deterministic_and_lossless() -> None:
    """The same texts give the same tokenizer, and any text survives it."""
    one, two = (train_tokenizer(TEXTS, vocab_size=300) for _ in range(2))
    assert tokenizer_digest(one) == tokenizer_digest(two)
    assert tokenizer_digest(one) != tokenizer_digest(train_tokenizer(TEXTS, vocab_size=280))
    text = "unseen words: 東京, naïve 🙂\n\ttabs"
    assert one.decode(one(text)["input_ids"]) == text


def test_a_name_has_the_same_tokens_wherever_it_stands() -> None:
    """At the start, after a space and in JSON: what is learned of it in one place holds in all."""
    name = "KubePodNotReady"
    texts = [f"{name} fires", f"please mend {name}", f'{{"alertname":"{name}"}}']
    tokenizer = train_tokenizer(texts * 9, vocab_size=300, split_names=True)
    alone = tokenizer.encode(name)
    assert len(alone) < len(name)
    for text in texts:
        ids = tokenizer.encode(text)
        found = [ids[at : at + len(alone)] for at in range(len(ids))]
        assert alone in found, tokenizer.convert_ids_to_tokens(ids)
        assert tokenizer.decode(ids) == text


def test_too_small_vocabulary_is_refused() -> None:
    """256 bytes and the special tokens need room."""
    with pytest.raises(ValueError, match="vocab_size is 100; give at least 257"):
        train_tokenizer(TEXTS, vocab_size=100)


def test_padding_token_is_required_where_batches_are_padded() -> None:
    """A tokenizer without one is named, with the mend."""
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    assert padding_id(tokenizer) == 0
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="has no padding token; set one"):
        padding_id(tokenizer)


def test_vocabulary_that_does_not_fit_the_model_is_refused() -> None:
    """The largest id needs a row in the embedding."""
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    largest = max(tokenizer.get_vocab().values())
    check_fits(tokenizer, SimpleNamespace(vocab_size=largest + 1))
    with pytest.raises(ValueError, match=f"largest id is {largest} and the vocabulary of distil"):
        check_fits(tokenizer, SimpleNamespace(vocab_size=largest), name="distil")
