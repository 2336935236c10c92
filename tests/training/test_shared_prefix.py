"""Shared-prefix batches are exact, and what shares nothing is padded."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from training.conversations import Conversation
from training.finetune import finetune
from training.finetune_config import FinetuneConfig
from training.lora import LoraConfig, add_adapter
from training.shared_prefix import (
    AnswerBatch,
    ConversationBatches,
    answer_loss,
    common_prefix,
    padded_batch,
    shared_batch,
)
from training.tiny_models import small_gemma, small_gpt2
from training.tokenizer import train_tokenizer

VOCABULARY = 300


def _conversations(prefix: int, count: int = 5, seed: int = 0) -> list[Conversation]:
    """Conversations with one prefix and rests of different lengths, the last with two answers."""
    generator = torch.Generator().manual_seed(seed)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCABULARY, (length,), generator=generator).tolist())

    shared, conversations = draw(prefix), []
    for number in range(count):
        ask, answer = 5 + 3 * number, 4 + number % 3
        ids = shared + draw(ask + answer + 9)
        start = prefix + ask
        spans: tuple[tuple[int, int], ...] = ((start, start + answer),)
        if number == count - 1:
            spans += ((start + answer + 4, len(ids)),)
        else:
            ids = ids[: start + answer]
        conversations.append(Conversation(ids=ids, answers=spans, tools_length=prefix))
    return conversations


def _gemma(attention: str = "sdpa") -> Any:
    tokenizer = train_tokenizer(["a"], vocab_size=VOCABULARY)
    model = small_gemma(
        tokenizer=tokenizer,
        width=32,
        layers=4,
        heads=2,
        sliding_window=16,
        vocab_size=VOCABULARY,
    )
    model.set_attn_implementation(attention)
    return model.eval()


def _loss_and_gradients(model: nn.Module, batch: AnswerBatch) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    loss = answer_loss(model, batch).total / batch.num_targets
    loss.backward()
    return float(loss.detach()), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def _reference(model: nn.Module, conversations: list[Conversation]) -> tuple[float, list[Any]]:
    """One forward pass per conversation, full logits, transformers' own causal masks."""
    model.zero_grad()
    total, count = torch.zeros(()), 0
    for conversation in conversations:
        logits = model(input_ids=torch.tensor([conversation.ids]), use_cache=False).logits[0]
        labels = torch.tensor(conversation.labels())
        total += nn.functional.cross_entropy(logits, labels, reduction="sum")
        count += int((labels != -100).sum())
    (total / count).backward()
    return float(total.detach()) / count, [
        p.grad.clone() for p in model.parameters() if p.grad is not None
    ]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("prefix", [10, 40])
def test_shared_and_padded_batches_equal_the_plain_ones(prefix: int, attention: str) -> None:
    """Loss and gradients agree to 1e-6, also where the prefix is longer than the sliding window."""
    model, conversations = _gemma(attention), _conversations(prefix)
    loss, gradients = _reference(model, conversations)
    for batch in (shared_batch(conversations, prefix), padded_batch(conversations, 0)):
        ours, our_gradients = _loss_and_gradients(model, batch)
        assert ours == pytest.approx(loss, rel=1e-6)
        for one, other in zip(gradients, our_gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


def test_models_without_sliding_layers_take_the_same_batches() -> None:
    """GPT-2, which has learned positions and one kind of layer, agrees too."""
    model = small_gpt2(vocab_size=VOCABULARY, context=128, width=32, layers=2, heads=2).eval()
    conversations = _conversations(30)
    loss, gradients = _reference(model, conversations)
    ours, our_gradients = _loss_and_gradients(model, shared_batch(conversations, 30))
    assert ours == pytest.approx(loss, rel=1e-6)
    for one, other in zip(gradients, our_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


def test_adapter_gradients_agree_through_the_prefix() -> None:
    """LoRA's gradients agree, which flow through the prefix's keys and values alone."""
    torch.manual_seed(0)
    # In fp32 rounding alone is 2e-6 to 4e-6; in fp64 the norms, which stay fp32, leave 6e-7.
    model = add_adapter(_gemma(), LoraConfig(rank=2)).double()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.02)
    model.eval()
    conversations = _conversations(40)
    loss, gradients = _reference(model, conversations)
    ours, our_gradients = _loss_and_gradients(model, shared_batch(conversations, 40))
    assert len(gradients) == 2 * 7 * 4
    assert ours == pytest.approx(loss, rel=1e-6)
    for one, other in zip(gradients, our_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


def test_shared_row_holds_the_prefix_once_and_logits_only_where_labels_are() -> None:
    """The row is as long as the prefix and the rests, and every column kept has a label."""
    conversations = _conversations(40)
    batch = shared_batch(conversations, 40)
    assert batch.ids.shape == (1, 40 + sum(len(c.ids) - 40 for c in conversations))
    assert len(batch.columns) == batch.num_targets
    assert batch.num_tokens == sum(len(c.ids) for c in conversations)
    labels = [label for c in conversations for label in c.labels() if label != -100]
    assert batch.labels[0].tolist() == labels


def test_groups_share_what_they_have_in_common() -> None:
    """Two agents' conversations are never mixed, and lone ones are padded together."""
    one, two = _conversations(40), _conversations(60, count=3, seed=1)
    lone = [_conversations(20, count=1, seed=seed)[0] for seed in (2, 3, 4)]
    batches = ConversationBatches([*one, *lone, *two], batch_size=2, padding_id=0)
    assert [(len(g.members), g.prefix_length) for g in batches.groups] == [(5, 40), (3, 60), (3, 0)]
    assert batches.num_shared == 8
    assert len(batches) == 3 + 2 + 2
    for epoch in (0, 1):
        seen = [batches.batch(epoch, index) for index in range(len(batches))]
        tokens = sum(len(c.ids) for c in [*one, *two, *lone])
        assert sum(batch.num_tokens for batch in seen) == tokens
        assert all(len(batch.ids) == 1 or batch.ids.shape[0] <= 2 for batch in seen)


def test_padded_batches_are_of_like_length_and_differ_between_epochs() -> None:
    """Bucketing by length keeps padding low; the mix changes with the epoch."""
    conversations = [
        replace(c, ids=c.ids[10:], answers=tuple((s - 10, e - 10) for s, e in c.answers))
        for c in _conversations(10, count=24)
    ]
    conversations = [replace(c, tools_length=0) for c in conversations]
    batches = ConversationBatches(conversations, batch_size=4, padding_id=0)
    assert batches.num_shared == 0
    cells = tokens = 0
    for index in range(len(batches)):
        batch = batches.batch(0, index)
        cells, tokens = cells + batch.ids.numel(), tokens + batch.num_tokens
    assert tokens == sum(len(c.ids) for c in conversations)
    assert cells < 1.2 * tokens
    assert batches.batch(0, 0).ids.tolist() != batches.batch(1, 0).ids.tolist()


@pytest.mark.parametrize(
    ("sequences", "length"),
    [([], 0), ([(1, 2)], 2), ([(1, 2, 3), (1, 2), (1, 2, 4)], 2), ([(5,), (6,)], 0)],
)
def test_common_prefix_is_what_all_share(sequences: list[tuple[int, ...]], length: int) -> None:
    """Also of none, of one, and of one that is another's beginning."""
    assert common_prefix(sequences) == length


def test_attention_that_takes_no_mask_is_refused() -> None:
    """Flash attention has no block masks; the mend is named."""
    model = _gemma()
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="attn_implementation is 'flash_attention_2'"):
        answer_loss(model, shared_batch(_conversations(20), 20))


def test_loop_trains_the_adapter_and_nothing_else() -> None:
    """LoRA goes through the same loop, with gradient checkpointing: the loss falls."""
    model = add_adapter(_gemma(), LoraConfig(rank=4))
    before = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    batches = ConversationBatches(_conversations(20), batch_size=5, padding_id=0)
    config = FinetuneConfig(
        steps=12,
        learning_rate=2e-2,
        precision="fp32",
        device="cpu",
        log_every=1,
        gradient_checkpointing=True,
    )
    result = finetune(model, batches, answer_loss, config=config)
    assert result.history[-1].loss < result.history[0].loss - 0.1
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters() if n in before)
