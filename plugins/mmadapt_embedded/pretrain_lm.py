"""Pretrain the embedded language model on the grammar of the shapes world, and on no media."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, get_cosine_schedule_with_warmup

from mmadapt_embedded.export import save_half, save_record
from mmadapt_embedded.grammar import sample_text
from mmadapt_embedded.tokenizer import build_tokenizer

STEPS, BATCH, LEARNING_RATE = 600, 32, 1.5e-3


def _notes(input_ids: Tensor, close: int) -> Tensor:
    """(b, s) bool: the notes of the texts that have them, which are given and not learnt."""
    ends = (input_ids == close).long()
    return (ends.sum(dim=1, keepdim=True) > 0) & (ends.cumsum(dim=1) - ends == 0)


def pretrain_lm(output: Path, seed: int = 0) -> None:
    """Train the language model and save it with its tokenizer.

    Args:
        output: Folder to write.
        seed: Decides the initial weights and every text.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    tokenizer = build_tokenizer()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            initializer_range=0.06,  # about 1 / sqrt(hidden_size); at 0.02 it never looks back
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.95))
    schedule = get_cosine_schedule_with_warmup(optimizer, 50, STEPS)
    close = tokenizer.get_vocab()[")"]
    for _ in (bar := tqdm(range(STEPS), desc="language model", unit="step")):
        texts = [sample_text(rng) + tokenizer.eos_token for _ in range(BATCH)]
        batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        labels = labels.masked_fill(_notes(batch["input_ids"], close), -100)
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    save_half(model, output)
    tokenizer.save_pretrained(output)
    record = {
        "part": "lm",
        "seed": seed,
        "steps": STEPS,
        "batch_size": BATCH,
        "saw": "texts of mmadapt_embedded.grammar alone: no image, video or sound",
        "combinations": "drawn evenly from the full product of words, so that wording says "
        "nothing of which combinations the media splits hold out",
        "final_loss_nats_per_token": round(loss.item(), 3),
    }
    save_record(output, record)
