"""Tiny random models for tests: every LM family, an encoder that needs no files, a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from mmadapt.contracts import Encoder, FusionContext, Processor, encoder_info
from mmadapt.types import Features, LevelSpec, MediaInputs, MediaPart

VOCAB = 96
WIDTH = 32
LAYERS = 4
_LLAMA_LIKE = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "head_dim": 8,
}
# Windows are shorter than any test's sequence, so that sliding really happens.
LM_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA_LIKE,
    "mistral": {**_LLAMA_LIKE, "sliding_window": 6},
    "qwen2": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
    "gemma": _LLAMA_LIKE,
    "gemma2": {**_LLAMA_LIKE, "sliding_window": 6, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_LLAMA_LIKE, "sliding_window": 6, "query_pre_attn_scalar": 8},
    "phi3": _LLAMA_LIKE,
    "smollm3": _LLAMA_LIKE,
    "stablelm": {k: v for k, v in _LLAMA_LIKE.items() if k != "head_dim"},
    "opt": {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "ffn_dim": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "word_embed_proj_dim": WIDTH,
    },
    "gpt_neox": {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    },
    "gpt2": {
        "vocab_size": VOCAB,
        "n_embd": WIDTH,
        "n_layer": LAYERS,
        "n_head": 4,
        "n_positions": 128,
    },
    "falcon": {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "alibi": False,
    },
}


def tiny_lm(family: str, *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random LM of a family whose outputs vary; no token ends a text.

    Args:
        family: a `model_type` of `LM_CONFIGS`.
        seed: of its weights.
        changes: of its configuration.

    Example:
        >>> tiny_lm("opt").num_parameters() < 100_000
        True
    """
    tokens = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
    options = {"tie_word_embeddings": False, **tokens, **LM_CONFIGS[family], **changes}
    lm = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **options))
    head = lm.get_output_embeddings().weight
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if parameter.ndim > 1:  # large enough that greedy outputs do not get stuck
                is_embedding = any(part in name for part in ("embed", "wte", "wpe"))
                deviation = 0.1 if parameter is head else 1.0 if is_embedding else 0.3
                parameter.normal_(0, deviation)
    lm.generation_config.eos_token_id = None
    return cast(PreTrainedModel, lm.eval())


def tiny_tokenizer(words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A word-level tokenizer: `<pad>` 0, `<s>` 1, `</s>` 2, `<unk>` 3, then the words given."""
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    for word in words:
        vocabulary.setdefault(word, len(vocabulary))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


class TensorProcessor(Processor):
    """Hands an in-memory tensor on."""

    def __call__(self, media: MediaPart, rng: np.random.Generator | None = None) -> Tensor:
        """Returns the part's `value` as a tensor."""
        return torch.as_tensor(media["value"])


class TinyEncoderConfig(BaseModel):
    """Options of `TinyEncoder`.

    Args:
        width: of its tokens.
        depth: number of blocks.
        items: items of one media file.
        side: height and width of the grid of tokens.
    """

    model_config = ConfigDict(extra="forbid")
    width: int = 24
    depth: int = 6
    items: int = 1
    side: int = 4


class TinyEncoder(Encoder):
    """Blocks over (b, t, n, e) values that already are tokens; the first is a CLS token."""

    Config = TinyEncoderConfig
    modality = "image"

    def __init__(self, config: TinyEncoderConfig | None = None, **options: int) -> None:
        super().__init__()
        self.config = config = config or TinyEncoderConfig(**options)
        self.hidden_size, self.num_levels = config.width, config.depth
        self.num_items, self.num_prefix_tokens = config.items, 1
        self.grid = (config.side, config.side)
        self.processor = TensorProcessor()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(config.width, config.width),
                nn.GELU(),
                nn.Linear(config.width, config.width),
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, inputs: MediaInputs, levels: Sequence[LevelSpec]) -> Features:
        """Runs all blocks on `values` (b, t, n, e)."""
        x, outputs = inputs["values"], []
        for block in self.blocks:
            x = x + block(x)
            outputs.append(x)
        chosen = tuple(
            self.norm(outputs[level.block]) if level.normed else outputs[level.block]
            for level in levels
        )
        mask = (inputs["item"] >= 0)[..., None].expand(*x.shape[:3])
        return Features(chosen, mask, inputs["item"], self.num_prefix_tokens, self.grid)

    def mlp(self, block: int) -> nn.Module:
        """A block is nothing but its MLP."""
        return self.blocks[block]

    def inputs(self, batch: int, *, seed: int = 0) -> MediaInputs:
        """Random media for a batch: one file of `items` items for each sample."""
        generator = torch.Generator().manual_seed(seed)
        tokens = 1 + self.config.side**2
        shape = (batch, self.num_items, tokens, self.hidden_size)
        values = torch.randn(shape, generator=generator)
        return {"values": values, "item": torch.zeros(batch, self.num_items, dtype=torch.long)}


def context(
    lm: PreTrainedModel, encoders: Mapping[str, Encoder], name: str = "fusion"
) -> FusionContext:
    """What a fusion is built for, with a tokeniser that maps letters to ids."""
    config = lm.config.get_text_config()
    return FusionContext(
        name,
        config.hidden_size,
        cast(Tensor, lm.get_input_embeddings().weight).shape[1],
        config.num_hidden_layers,
        config.num_attention_heads,
        {key: encoder_info(encoder) for key, encoder in encoders.items()},
        tokenize=letters,
    )


def letters(text: str) -> list[int]:
    """An id for each letter, none of them special."""
    return [4 + ord(letter) % (VOCAB - 4) for letter in text]
