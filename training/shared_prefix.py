"""Batches whose examples share a long prefix, which is computed once and is exact.

All examples of an agent begin with the same declarations of tools. One row holds the prefix and
then the rest of every example:

    prefix | rest of example 1 | rest of example 2 | ...

Each rest continues the prefix's positions and attends to the prefix and to itself. Gradients flow
into the prefix from all of them, so loss and gradient are those of the padded batch, at a fraction
of its tokens.

Letters: B examples, P tokens of the prefix, L tokens of the row, R rows of logits.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from training.batches import IGNORED, shuffled
from training.conversations import Conversation
from training.finetune import TokenLoss
from training.language_model import token_loss

SHORTEST_PREFIX = 16
"""Shared tokens below which examples are padded: the block mask would cost more than it saves."""

PREFIX = -1
PADDING = -2


@dataclass(frozen=True, kw_only=True)
class AnswerBatch:
    """Rows of tokens of which only a few columns need logits. B or 1 rows, L columns."""

    ids: Tensor
    """Token ids, (rows, L)."""

    positions: Tensor
    """Position of each token in its own example, (rows, L)."""

    segments: Tensor
    """Which example a token belongs to, or PREFIX, or PADDING; (rows, L)."""

    columns: Tensor
    """Columns whose logits are needed, ascending, (R,)."""

    labels: Tensor
    """The token each of `columns` predicts, or IGNORED; (rows, R)."""

    num_tokens: int
    """Tokens of all examples as if each had the prefix of its own."""

    num_targets: int
    """Labels that are not IGNORED."""

    def to(self, device: torch.device) -> "AnswerBatch":
        """Returns the batch on `device`."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("ids", "positions", "segments", "columns", "labels")
        }
        return replace(self, **moved)


def shared_batch(examples: Sequence[Conversation], prefix_length: int) -> AnswerBatch:
    """Lays examples out in one row, with their first `prefix_length` tokens once.

    Args:
        examples: Conversations that agree in those tokens and have no answer among them.
        prefix_length: P.
    """
    prefix = examples[0].ids[:prefix_length]
    agree = all(example.ids[:prefix_length] == prefix for example in examples)
    unanswered = all(example.answers[0][0] > prefix_length for example in examples)
    assert agree, "examples differ within the prefix"  # noqa: S101 - an invariant
    assert unanswered, "an answer starts within the prefix"  # noqa: S101 - an invariant
    ids, labels = list(prefix), [IGNORED] * prefix_length
    positions, segments = list(range(prefix_length)), [PREFIX] * prefix_length
    for number, example in enumerate(examples):
        ids += example.ids[prefix_length:]
        labels += example.labels()[prefix_length:]
        positions += range(prefix_length, len(example.ids))
        segments += [number] * (len(example.ids) - prefix_length)
    return _answer_batch([ids], [labels], [positions], [segments], examples)


def padded_batch(examples: Sequence[Conversation], padding_id: int) -> AnswerBatch:
    """Gives every example a row of its own; answers end in the same column, so padding is left."""
    width = max(len(example.ids) for example in examples)
    ids, labels, positions, segments = [], [], [], []
    for example in examples:
        fill = width - len(example.ids)
        ids.append([padding_id] * fill + list(example.ids))
        labels.append([IGNORED] * fill + list(example.labels()))
        positions.append([0] * fill + list(range(len(example.ids))))
        segments.append([PADDING] * fill + [0] * len(example.ids))
    return _answer_batch(ids, labels, positions, segments, examples)


def _answer_batch(
    ids: list[list[int]],
    labels: list[list[int]],
    positions: list[list[int]],
    segments: list[list[int]],
    examples: Sequence[Conversation],
) -> AnswerBatch:
    all_labels = torch.tensor(labels)
    columns = torch.nonzero((all_labels != IGNORED).any(0)).flatten()
    return AnswerBatch(
        ids=torch.tensor(ids),
        positions=torch.tensor(positions),
        segments=torch.tensor(segments),
        columns=columns,
        labels=all_labels[:, columns],
        num_tokens=sum(len(example.ids) for example in examples),
        num_targets=int((all_labels != IGNORED).sum()),
    )


def answer_loss(model: nn.Module, batch: AnswerBatch) -> TokenLoss:
    """Returns the summed loss of the answers; logits exist only in the columns that need them.

    With a vocabulary of 262,144 the logits are most of the work of a small model.
    """
    config: Any = model.config
    output = model(
        input_ids=batch.ids,
        position_ids=batch.positions,
        attention_mask=attention_masks(
            config,
            query_positions=batch.positions,
            query_segments=batch.segments,
            dtype=_mask_dtype(model),
        ),
        logits_to_keep=batch.columns,
        use_cache=False,
    )
    return token_loss(output.logits, batch.labels, count_correct=not model.training)


def attention_masks(
    config: Any,
    *,
    query_positions: Tensor,
    query_segments: Tensor,
    key_positions: Tensor | None = None,
    key_segments: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor | dict[str, Tensor]:
    """Returns who attends to whom, in the form the model takes.

    A token attends to the prefix and to its own example, up to its own position; in sliding
    layers no further back than the window.

    Args:
        config: The model's; says which layers slide and how attention is computed.
        query_positions: (rows, Q).
        query_segments: (rows, Q).
        key_positions: (rows, K); the queries' own where left out.
        key_segments: (rows, K), likewise.
        dtype: That of the attention scores, for models that add the mask to them.

    Returns:
        One mask (rows, 1, Q, K), or one for each kind of layer where kinds differ.

    Raises:
        ValueError: The model's attention takes no mask of this kind.
    """
    kind = getattr(config, "_attn_implementation", "eager")
    if kind not in ("sdpa", "eager"):
        raise ValueError(f"attn_implementation is {kind!r}; load the model with 'sdpa' or 'eager'")
    keys = query_positions if key_positions is None else key_positions
    owners = query_segments if key_segments is None else key_segments
    distance = query_positions[:, :, None] - keys[:, None, :]  # (rows, Q, K)
    same = (owners[:, None, :] == PREFIX) | (owners[:, None, :] == query_segments[:, :, None])
    full = same & (distance >= 0) & (owners[:, None, :] != PADDING)
    # The queries are the last keys. Each sees itself, so that no softmax of padding is empty.
    query = torch.arange(full.shape[1], device=full.device)
    full[:, query, query + full.shape[2] - full.shape[1]] = True
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None) or []
    full_mask = _mask(full, kind, dtype)
    if window is None or (layers and "sliding_attention" not in layers):
        return full_mask
    sliding = _mask(full & (distance < window), kind, dtype)
    return {"full_attention": full_mask, "sliding_attention": sliding} if layers else sliding


def _mask(allowed: Tensor, kind: str, dtype: torch.dtype) -> Tensor:
    """Adds the heads' dimension; eager attention wants what is added to the scores."""
    allowed = allowed[:, None]
    if kind == "sdpa":
        return allowed
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(
        ~allowed, torch.finfo(dtype).min
    )


def _mask_dtype(model: nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype


def common_prefix(sequences: Iterable[Sequence[int]]) -> int:
    """Returns how many first tokens all sequences share.

    >>> common_prefix([(1, 2, 3), (1, 2, 4, 5)])
    2
    """
    ordered = sorted(map(tuple, sequences))
    if not ordered:
        return 0
    # In sorted order, what the first and the last share is shared by all between.
    first, last = ordered[0], ordered[-1]
    differing = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(differing, min(len(first), len(last)))


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Examples that are batched with each other."""

    members: tuple[int, ...]
    prefix_length: int


class ConversationBatches:
    """Conversations as batches: with a shared prefix where there is one, padded where not.

    Conversations are grouped by what comes before their first request (tools, instructions).
    Groups that share fewer than `SHORTEST_PREFIX` tokens, and those of a single conversation, are
    padded instead, sorted by length so that little of a batch is padding.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        *,
        batch_size: int,
        padding_id: int,
        seed: int = 0,
        shuffle: bool = True,
        share: bool = True,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give at least 1")
        self._conversations = conversations
        self._batch_size, self._padding_id = batch_size, padding_id
        self._seed, self._shuffle = seed, shuffle
        self.groups = (
            _grouped(conversations) if share else [_padded_group(range(len(conversations)))]
        )

    @property
    def num_shared(self) -> int:
        """Conversations whose prefix is computed once per batch."""
        return sum(len(group.members) for group in self.groups if group.prefix_length)

    def __len__(self) -> int:
        """Returns the batches of an epoch; the last one of each group may be smaller."""
        return sum(math.ceil(len(group.members) / self._batch_size) for group in self.groups)

    def batch(self, epoch: int, index: int) -> AnswerBatch:
        """Returns one batch; the same arguments give the same batch in every process."""
        order = shuffled(len(self), seed=self._seed, epoch=epoch if self._shuffle else None)
        group, start = self._place(order[index])
        members = self._members(group, epoch)[start : start + self._batch_size]
        examples = [self._conversations[member] for member in members]
        if group.prefix_length:
            return shared_batch(examples, group.prefix_length)
        return padded_batch(examples, self._padding_id)

    def _place(self, number: int) -> tuple[_Group, int]:
        """Finds the group of a batch and where the batch starts in it."""
        for group in self.groups:
            batches = math.ceil(len(group.members) / self._batch_size)
            if number < batches:
                return group, number * self._batch_size
            number -= batches
        raise IndexError(number)

    def _members(self, group: _Group, epoch: int) -> Sequence[int]:
        """Returns a group's examples in the order of `epoch`."""
        if not self._shuffle:
            return group.members
        count = len(group.members)
        order = shuffled(count, seed=self._seed + 1, epoch=epoch)
        mixed = [group.members[place] for place in order]
        if group.prefix_length:
            return mixed
        # Buckets of many batches: mixed from epoch to epoch, of like length within a batch.
        bucket = 16 * self._batch_size
        return [
            member
            for at in range(0, count, bucket)
            for member in sorted(
                mixed[at : at + bucket], key=lambda m: len(self._conversations[m].ids)
            )
        ]


def _grouped(conversations: Sequence[Conversation]) -> list[_Group]:
    """Groups conversations by their tools; those without company end up in one padded group."""
    by_tools: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, conversation in enumerate(conversations):
        by_tools[conversation.ids[: conversation.tools_length]].append(number)
    groups, alone = [], list[int]()
    for members in by_tools.values():
        # The last token before an answer predicts its first one, so it is not of the prefix.
        asked = [conversations[m].ids[: conversations[m].answers[0][0] - 1] for m in members]
        length = common_prefix(asked) if len(members) > 1 else 0
        if length < SHORTEST_PREFIX:
            alone += members
        else:
            groups.append(_Group(members=tuple(members), prefix_length=length))
    return [*groups, _padded_group(alone)] if alone else groups


def _padded_group(members: Iterable[int]) -> _Group:
    return _Group(members=tuple(members), prefix_length=0)
