"""Tokenizers: loading one by name, training one on a corpus, and what the loops need of one."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(
    texts: Iterable[str],
    *,
    vocab_size: int,
    special_tokens: Sequence[str] = (END_OF_TEXT,),
    split_names: bool = False,
) -> "PreTrainedTokenizerFast":
    """Trains a byte-level BPE tokenizer; the same texts always give the same tokenizer.

    The first special token serves as beginning, end and padding.

    Args:
        texts: What to learn the merges from.
        vocab_size: Entries, with the 256 bytes and the special tokens.
        special_tokens: Texts that are one token each, with the first ids.
        split_names: Keeps the words of a name like KubePodNotReady apart, also from a space before
            them, so that a name has the same tokens wherever it stands and shares them with others.

    Raises:
        ValueError: The vocabulary has no room for the 256 bytes and the special tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    least = 256 + len(special_tokens)
    if vocab_size < least:
        raise ValueError(f"vocab_size is {vocab_size}; give at least {least} (bytes and specials)")
    tokenizer = Tokenizer(models.BPE())
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if split_names:
        steps.insert(0, pre_tokenizers.Split(Regex("[A-Z][a-z]+"), behavior="isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    end = special_tokens[0]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end
    )


def tokenizer_digest(tokenizer: Any) -> str:
    """Returns the SHA-256 of everything that decides how `tokenizer` splits text.

    A tokenizer without a fast backend is known by its class, vocabulary and special tokens.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        text = backend.to_str()
    else:
        text = f"{type(tokenizer).__name__} {sorted(tokenizer.get_vocab().items())}"
    return hashlib.sha256(f"{text} {tokenizer.special_tokens_map}".encode()).hexdigest()


def padding_id(tokenizer: Any) -> int:
    """Returns the id that fills batches up.

    Raises:
        ValueError: The tokenizer has no padding token.
    """
    if tokenizer.pad_token_id is None:
        raise ValueError(
            f"tokenizer {tokenizer.name_or_path!r} has no padding token; set one and save it, "
            "for instance tokenizer.pad_token = tokenizer.eos_token"
        )
    return int(tokenizer.pad_token_id)


def check_fits(tokenizer: Any, model_config: Any, *, name: str = "model") -> None:
    """Checks that every id of `tokenizer` has a row in the model's embedding.

    Raises:
        ValueError: The vocabulary does not fit the model.
    """
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= model_config.vocab_size:
        raise ValueError(
            f"the tokenizer's largest id is {largest} and the vocabulary of {name} has "
            f"{model_config.vocab_size} entries; use the tokenizer the model was trained with"
        )


def load_tokenizer(name: str | Path, *, token: str | None = None) -> Any:
    """Loads a tokenizer from the hub or from a folder.

    Raises:
        HubError: See `training.hub.hub_errors`.
    """
    from transformers import AutoTokenizer

    from training.hub import hub_errors, is_away

    with hub_errors(str(name), "tokenizer"):
        return AutoTokenizer.from_pretrained(name, token=token, local_files_only=is_away(name))
