"""Tiny random models for tests: every LM family, an encoder that needs no files, a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from mmadapt.contracts import Encoder, FusionContext, Processor, encoder_info
from mmadapt.types import Features, LevelSpec, MediaInputs

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
LM_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA_LIKE,
    "mistral": {**_LLAMA_LIKE, "sliding_window": 6},
    "qwen2": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
    "gemma2": {**_LLAMA_LIKE, "sliding_window": 6, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_LLAMA_LIKE, "sliding_window": 6, "query_pre_attn_scalar": 8},
    "phi3": {**_LLAMA_LIKE, "pad_token_id": 0},
    "smollm3": {**_LLAMA_LIKE, "pad_token_id": 0},
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
    """A random LM of a family whose outputs vary; no token ends a text."""
    changes = {"tie_word_embeddings": False, **changes}
    config = AutoConfig.for_model(family, **{**LM_CONFIGS[family], **changes})
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 1, None, 0
    torch.manual_seed(seed)
    lm = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if parameter.ndim > 1:
                # Large enough that greedy outputs do not get stuck.
                parameter.normal_(0, 1.0 if "embed" in name or "wte" in name else 0.25)
    lm.generation_config.eos_token_id = None
    return lm.eval()


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


class _NoConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TensorProcessor(Processor):
    """Hands an in-memory tensor on."""

    def __call__(self, media: Any, rng: Any = None) -> Tensor:
        return torch.as_tensor(media["value"])


class TinyEncoder(Encoder):
    """Blocks over (b, t, n, e) values that already are tokens; the first is a CLS token."""

    Config = _NoConfig
    modality = "image"

    def __init__(self, *, width: int = 24, depth: int = 6, items: int = 1, side: int = 4) -> None:
        super().__init__()
        self.hidden_size, self.num_levels, self.num_items = width, depth, items
        self.num_prefix_tokens, self.grid = 1, (side, side)
        self.processor = TensorProcessor()
        self.config = _NoConfig()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, inputs: MediaInputs, levels: Sequence[LevelSpec]) -> Features:
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
        return self.blocks[block]

    def inputs(self, batch: int, *, seed: int = 0) -> MediaInputs:
        """Random media for a batch."""
        generator = torch.Generator().manual_seed(seed)
        tokens = 1 + self.grid[0] * self.grid[1]
        shape = (batch, self.num_items, tokens, self.hidden_size)
        values = torch.randn(shape, generator=generator)
        return {"values": values, "item": torch.zeros(batch, self.num_items, dtype=torch.long)}


def context(
    lm: PreTrainedModel, encoders: dict[str, Encoder], name: str = "fusion"
) -> FusionContext:
    """What a fusion is built for."""
    return FusionContext(
        name,
        lm.config.hidden_size,
        lm.get_input_embeddings().embedding_dim,
        lm.config.num_hidden_layers,
        lm.config.num_attention_heads,
        {key: encoder_info(encoder) for key, encoder in encoders.items()},
        tokenize=lambda text: [4 + ord(letter) % (VOCAB - 4) for letter in text],
    )
