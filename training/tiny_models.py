"""Small models built from a config, so that every pipeline runs without a hub."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from training.language_model import fuse_activations
from training.tokenizer import train_tokenizer

if TYPE_CHECKING:
    from transformers import Gemma3ForCausalLM, GPT2LMHeadModel, PreTrainedTokenizerFast

CONTROL_TOKENS = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_function_declaration>",
    "<end_function_declaration>",
    "<start_function_call>",
    "<end_function_call>",
    "<start_function_response>",
    "<end_function_response>",
    "<escape>",
)
"""FunctionGemma's special tokens; the first three have its ids 0, 1 and 2."""

STOP_SEQUENCES = ("<end_of_turn>", "<start_function_response>")
"""Where a FunctionGemma turn ends, besides the end of text."""

# FunctionGemma's wire format: declarations in the developer turn, string values between <escape>
# tokens, keys in alphabetical order, a call's turn left open for the response. Strings are written
# in place where most of them are: a macro call costs more than all the rest of it.
CHAT_TEMPLATE = """
{%- macro value(v) -%}
  {%- if v is string -%}<escape>{{ v }}<escape>
  {%- elif v is boolean -%}{{ 'true' if v else 'false' }}
  {%- elif v is none -%}null
  {%- elif v is mapping -%}
    { {%- for key, item in v | dictsort -%}
      {{ key }}:{{ value(item) }}{{ ',' if not loop.last }}
    {%- endfor -%} }
  {%- elif v is sequence -%}
    [ {%- for item in v -%}
      {%- if item is string -%}<escape>{{ item }}<escape>{%- else -%}{{ value(item) }}{%- endif -%}
      {{ ',' if not loop.last }}
    {%- endfor -%} ]
  {%- else -%}{{ v }}
  {%- endif -%}
{%- endmacro -%}
{%- macro schema(s) -%}
  { {%- for key, item in s | dictsort -%}
    {{ key }}:
    {%- if key == 'properties' -%}
      { {%- for name, property in item | dictsort -%}
        {{ name }}:{{ schema(property) }}{{ ',' if not loop.last }}
      {%- endfor -%} }
    {%- elif item is string -%}<escape>{{ item | upper if key == 'type' else item }}<escape>
    {%- elif key == 'items' -%}{{ schema(item) }}
    {%- else -%}{{ value(item) }}
    {%- endif -%}
    {{ ',' if not loop.last }}
  {%- endfor -%} }
{%- endmacro -%}
{{ bos_token }}
{%- set state = namespace(open=false, rest=messages) -%}
{%- if tools or messages[0].role in ('developer', 'system') -%}
  {{ '<start_of_turn>developer\n' }}
  {%- if messages[0].role in ('developer', 'system') -%}
    {{ messages[0].content | trim }}
    {%- set state.rest = messages[1:] -%}
  {%- else -%}
    {{ 'You are a model that can do function calling with the following functions' }}
  {%- endif -%}
  {%- for tool in tools or [] -%}
    <start_function_declaration>declaration:{{ tool.function.name }}{description:
    {{- value(tool.function.description) }},parameters:{{ schema(tool.function.parameters) }}}
    {{- '<end_function_declaration>' }}
  {%- endfor -%}
  {{ '<end_of_turn>\n' }}
{%- endif -%}
{%- for message in state.rest -%}
  {%- if message.role == 'tool' -%}
    response:{{ message.name }}
    {{- value(message.content) if message.content is mapping
        else '{value:' ~ value(message.content) ~ '}' }}
    {{- '<end_function_response>' }}
  {%- else -%}
    {%- if not (state.open and message.role == 'assistant') -%}
      {{ '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\n' }}
    {%- endif -%}
    {{ (message.content or '') | trim }}
    {%- for call in message.tool_calls or [] -%}
      <start_function_call>call:{{ call.function.name }}{{ value(call.function.arguments) }}
      {{- '<end_function_call>' }}
    {%- endfor -%}
    {%- if message.tool_calls -%}
      <start_function_response>{%- set state.open = true -%}
    {%- else -%}
      {{ '<end_of_turn>\n' }}{%- set state.open = false -%}
    {%- endif -%}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not state.open -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
""".strip()


def small_gpt2(
    *,
    vocab_size: int,
    context: int = 256,
    width: int = 192,
    layers: int = 4,
    heads: int = 6,
    end_id: int = 0,
    seed: int = 0,
) -> "GPT2LMHeadModel":
    """Builds a GPT-2 with random weights; the same arguments give the same weights.

    Args:
        vocab_size: Entries of the tokenizer.
        context: Longest sequence, in tokens.
        width: Size of the hidden states.
        layers: Number of blocks.
        heads: Attention heads of a block.
        end_id: The tokenizer's end-of-text id.
        seed: Decides the weights.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=context,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end_id,
        eos_token_id=end_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return fuse_activations(GPT2LMHeadModel(config))


def function_tokenizer(
    texts: Iterable[str], *, vocab_size: int = 1024
) -> "PreTrainedTokenizerFast":
    """Trains a tokenizer with FunctionGemma's control tokens and chat format on `texts`."""
    tokenizer = train_tokenizer(
        texts, vocab_size=vocab_size, special_tokens=CONTROL_TOKENS, split_names=True
    )
    pad, end, begin = CONTROL_TOKENS[:3]
    tokenizer.add_special_tokens(
        {
            "pad_token": pad,
            "eos_token": end,
            "bos_token": begin,
            "additional_special_tokens": list(CONTROL_TOKENS[3:]),
        }
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def conversation_tokenizer(
    records: Iterable[Mapping[str, Any]], *, texts: Iterable[str] = (), vocab_size: int = 1024
) -> "PreTrainedTokenizerFast":
    """Trains a tokenizer on conversations as the chat format writes them, and on other `texts`.

    Each stretch between two control tokens counts once, so that the tools, which every
    conversation repeats, do not crowd out the requests.
    """
    writer = function_tokenizer((), vocab_size=256 + len(CONTROL_TOKENS))
    control = re.compile("|".join(map(re.escape, CONTROL_TOKENS)))
    stretches: dict[str, None] = {}
    for record in records:
        written = writer.apply_chat_template(
            list(record["messages"]), tools=record.get("tools"), tokenize=False
        )
        stretches |= dict.fromkeys(control.split(str(written)))
    return function_tokenizer([*stretches, *texts], vocab_size=vocab_size)


def small_gemma(
    *,
    tokenizer: Any,
    width: int = 128,
    layers: int = 3,
    heads: int = 2,
    head_size: int = 64,
    sliding_window: int = 128,
    full_every: int = 3,
    context: int = 4096,
    vocab_size: int = 0,
    seed: int = 0,
) -> "Gemma3ForCausalLM":
    """Builds a model of Gemma 3's architecture with random weights, in FunctionGemma's role.

    Args:
        tokenizer: Decides the vocabulary and the special ids.
        width: Size of the hidden states.
        layers: Number of blocks.
        heads: Query heads of a block; they share one key-value head, as in the 270M model.
        head_size: Size of a head.
        sliding_window: Tokens that a sliding layer looks back, itself included. The default holds
            a request and its answer, so that the tools before them do not crowd them out.
        full_every: Every how many layers one attends to everything.
        context: Longest sequence, in tokens.
        vocab_size: Rows of the embedding; 0 takes as many as the tokenizer has entries.
        seed: Decides the weights.
    """
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=vocab_size or len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=1,
        head_dim=head_size,
        query_pre_attn_scalar=head_size,
        sliding_window=sliding_window,
        layer_types=[
            "full_attention" if (layer + 1) % full_every == 0 else "sliding_attention"
            for layer in range(layers)
        ],
        max_position_embeddings=context,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    # MLX goes by this pattern, transformers by the list above; saved with the config.
    config.sliding_window_pattern = full_every
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Gemma3ForCausalLM(config)
        # Rows of length 1, as Gemma's scaling by sqrt(width) expects. At the default of 0.02 no
        # logit could get far from 0, and an adapter, which leaves the rows alone, cannot mend it.
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=width**-0.5)
        return model
