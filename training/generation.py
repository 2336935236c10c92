"""Batched decoding: a shared prefix is computed once, and padding changes nothing.

The cache keeps every position of every layer; the masks, not the cache, say how far a sliding
layer looks back. So rows of different lengths can stand side by side, each with positions of its
own.

Letters: B prompts of a batch, P tokens of the shared prefix, Q queries, K cached keys, V entries
of the vocabulary.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.device import Placement
from training.shared_prefix import PADDING, PREFIX, attention_masks, common_prefix

Choose = Callable[[Tensor], Tensor]
"""Picks the next token of each row from logits (B, V)."""


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How answers are decoded."""

    max_new_tokens: int = 128
    """Longest answer."""

    stop: tuple[str, ...] = ()
    """Texts that end an answer, besides the end-of-text token; they are not part of it."""

    batch_size: int = 16
    """Prompts that are decoded side by side."""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said to one prompt."""

    ids: tuple[int, ...]
    """Its tokens, without those of the stop sequence."""

    text: str
    """Its text, control tokens included."""

    finish: Literal["stop", "length"]
    """Whether it ended by itself or at the limit."""

    seconds: float
    """From the start of its batch to its last token."""


@dataclass
class _Row:
    """One prompt while it is being answered."""

    number: int
    length: int
    ids: list[int] = field(default_factory=list)


def greedy(logits: Tensor) -> Tensor:
    """Picks the most likely token of each row."""
    return logits.argmax(-1)


def sampler(*, temperature: float = 0.8, top_k: int = 50, seed: int = 0) -> Choose:
    """Returns a function that draws among the `top_k` likeliest tokens; equal seeds, equal draws.

    Raises:
        ValueError: The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature is {temperature}; give a positive number, or decode greedily"
        )
    generator = torch.Generator().manual_seed(seed)

    def choose(logits: Tensor) -> Tensor:
        values, ids = logits.float().cpu().topk(min(top_k, logits.shape[-1]))
        drawn = torch.multinomial((values / temperature).softmax(-1), 1, generator=generator)
        return ids.gather(-1, drawn)[:, 0].to(logits.device)

    return choose


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    config: GenerationConfig,
    placement: Placement,
    choose: Choose = greedy,
) -> list[Answer]:
    """Answers every prompt; the result does not depend on which prompts share a batch.

    Args:
        model: A transformers causal language model, with or without an adapter.
        tokenizer: Its tokenizer.
        prompts: Tokens of each prompt.
        config: Limits and stop sequences.
        placement: Where the model is, and in which precision it computes.
        choose: Picks each next token; greedy by default.

    Raises:
        ValueError: A prompt is empty or leaves no room in the model's context.
    """
    _check(model, prompts, config)
    stops = _Stops(tokenizer, config.stop)
    # Prompts of like length side by side: fewer columns are padding.
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    answers: dict[int, Answer] = {}
    with _evaluating(model), torch.no_grad(), placement.autocast():
        for at in range(0, len(order), config.batch_size):
            numbers = order[at : at + config.batch_size]
            batch = {number: prompts[number] for number in numbers}
            decoder = _Decoder(model, placement.device)
            answers |= _answer_batch(decoder, batch, stops, config, choose)
    return [answers[number] for number in range(len(prompts))]


def _answer_batch(
    decoder: "_Decoder",
    prompts: Mapping[int, Sequence[int]],
    stops: "_Stops",
    config: GenerationConfig,
    choose: Choose,
) -> dict[int, Answer]:
    """Answers one batch: the prefix alone, the rests together, then token by token."""
    began = time.perf_counter()
    logits = decoder.read(list(prompts.values()))
    rows = [_Row(number, len(prompt)) for number, prompt in prompts.items()]
    answers: dict[int, Answer] = {}
    while rows:
        chosen = choose(logits).tolist()
        alive = []
        for place, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            row.ids.append(token)
            said = stops.before_end(row.ids)
            if said is not None or len(row.ids) == config.max_new_tokens:
                ids, text = said or (row.ids, stops.text(row.ids))
                answers[row.number] = Answer(
                    ids=tuple(ids),
                    text=text,
                    finish="length" if said is None else "stop",
                    seconds=time.perf_counter() - began,
                )
            else:
                alive.append(place)
        if len(alive) < len(rows):
            rows = [rows[place] for place in alive]
            decoder.keep(alive)
        if rows:
            logits = decoder.step([row.ids[-1] for row in rows])
    return answers


class _Decoder:
    """A model with the cache of a batch, and what its masks need: whose each key is, and where."""

    def __init__(self, model: Any, device: torch.device) -> None:
        from transformers import DynamicCache

        self._model, self._device = model, device
        self._dtype = next(model.parameters()).dtype
        # Without the config: layers that slide keep all keys too, see the module's docstring.
        self._cache: Any = DynamicCache()
        self._positions = self._segments = torch.empty(0)

    def read(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Fills the cache with the prompts and returns the logits after each, (B, V)."""
        # Every prompt keeps a token of its own, whose logits begin the answer.
        shared = min(common_prefix(prompts), min(map(len, prompts)) - 1)
        count = len(prompts)
        self._positions = torch.empty(1, 0, dtype=torch.long, device=self._device)
        self._segments = torch.empty(1, 0, dtype=torch.long, device=self._device)
        if shared:
            positions = torch.arange(shared, device=self._device)[None]
            ids = torch.tensor([list(prompts[0][:shared])], device=self._device)
            self._forward(ids, positions, torch.full_like(positions, PREFIX))
        if count > 1:
            if shared:
                self._cache.batch_repeat_interleave(count)
            self._positions = self._positions.repeat(count, 1)
            self._segments = self._segments.repeat(count, 1)
        rests = [list(prompt[shared:]) for prompt in prompts]
        width = max(map(len, rests))
        ids = torch.tensor([rest + [0] * (width - len(rest)) for rest in rests])
        lengths = torch.tensor([len(rest) for rest in rests])
        column = torch.arange(width).expand(count, width)
        segments = torch.where(column < lengths[:, None], 0, PADDING)
        last = (lengths - 1).to(self._device)
        # Logits for all rows' last columns at once: as many as there are different lengths.
        needed = torch.unique(last)
        logits = self._forward(
            ids.to(self._device),
            (column + shared).to(self._device),
            segments.to(self._device),
            keep=needed,
        )
        self._next = lengths.to(self._device) + shared  # (B,)
        return logits[torch.arange(count, device=self._device), torch.searchsorted(needed, last)]

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Appends one token to each row and returns the logits after it, (B, V)."""
        ids = torch.tensor(tokens, device=self._device)[:, None]
        positions = self._next[:, None]
        self._next = self._next + 1
        return self._forward(ids, positions, torch.zeros_like(positions))[:, -1]

    def keep(self, places: Sequence[int]) -> None:
        """Drops the rows that are not among `places`."""
        index = torch.tensor(places, dtype=torch.long, device=self._device)
        if len(index):
            self._cache.batch_select_indices(index)
            self._positions, self._segments = self._positions[index], self._segments[index]
            self._next = self._next[index]

    def _forward(
        self, ids: Tensor, positions: Tensor, segments: Tensor, keep: Tensor | int = 1
    ) -> Tensor:
        """Runs the model over new columns; returns logits of the columns `keep`."""
        self._positions = torch.cat([self._positions, positions], dim=1)  # (B, K)
        self._segments = torch.cat([self._segments, segments], dim=1)
        masks = attention_masks(
            self._model.config,
            query_positions=positions,
            query_segments=segments,
            key_positions=self._positions,
            key_segments=self._segments,
            dtype=self._dtype,
        )
        output = self._model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=masks,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        logits: Tensor = output.logits
        return logits


class _Stops:
    """Recognises the end of an answer."""

    def __init__(self, tokenizer: Any, texts: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        ends = {tokenizer.eos_token_id} - {None}
        control = {
            t: tokenizer.convert_tokens_to_ids(t) for t in texts if t in tokenizer.get_vocab()
        }
        self._ids = ends | set(control.values())
        self._texts = tuple(text for text in texts if text not in control)

    def before_end(self, ids: Sequence[int]) -> tuple[Sequence[int], str] | None:
        """Returns the tokens and the text before a stop sequence; None if the answer goes on.

        Where a stop sequence is plain text, the tokens at its ends may reach beyond it: what such a
        token says of the answer is in the text alone.
        """
        if ids[-1] in self._ids:
            return ids[:-1], self.text(ids[:-1])
        for stop in self._texts:
            # A token is at least one byte, so these hold the whole stop text.
            if stop in self.text(ids[-len(stop.encode()) :]):
                text = self.text(ids).partition(stop)[0]
                count = len(ids)
                while len(self.text(ids[:count])) > len(text):
                    count -= 1
                return ids[:count], text
        return None

    def text(self, ids: Sequence[int]) -> str:
        """Decodes tokens, control tokens included."""
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )


def _check(model: Any, prompts: Sequence[Sequence[int]], config: GenerationConfig) -> None:
    context = int(model.config.max_position_embeddings)
    for number, prompt in enumerate(prompts, start=1):
        if not prompt:
            raise ValueError(f"prompt {number} is empty; give it at least one token")
        if len(prompt) + config.max_new_tokens > context:
            raise ValueError(
                f"prompt {number} has {len(prompt)} tokens, which with max_new_tokens "
                f"({config.max_new_tokens}) exceeds the model's context of {context}; lower one"
            )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Switches dropout off for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def latency(answers: Sequence[Answer], share: float) -> float:
    """Returns the latency in seconds that `share` of the answers do not exceed.

    >>> made = [Answer(ids=(), text="", finish="stop", seconds=s) for s in (1.0, 2.0, 9.0)]
    >>> latency(made, 0.5), latency(made, 0.95)
    (2.0, 9.0)
    """
    ordered = sorted(answer.seconds for answer in answers)
    if not ordered:
        raise ValueError("there is no answer to take a latency of; give at least one prompt")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
