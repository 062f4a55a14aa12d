"""Fusions, models and batches that the tests share."""

from __future__ import annotations

import torch

from mmadapt.contracts import Head
from mmadapt.model import MultimodalModel
from mmadapt_evlm.config import EvlmConfig
from mmadapt_evlm.fusion import EvlmFusion
from tests.tiny import TinyEncoder, context, tiny_lm

SMALL = {"num_levels": 2, "head_dim": 8, "num_tokens": 2, "attention_ratio": 0.5}


def fusion_for(lm, encoders, *, name="evlm", seed=1, noise=0.3, **options):
    torch.manual_seed(seed)
    fusion = EvlmFusion(EvlmConfig(**{**SMALL, **options}), context(lm, encoders, name))
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return fusion


def model_of(family="llama", *, encoders=None, **options):
    """A model whose gates are open unless `noise` is 0."""
    lm = tiny_lm(family)
    torch.manual_seed(0)
    encoders = encoders or {"image": TinyEncoder()}
    return MultimodalModel(lm, None, encoders, [fusion_for(lm, encoders, **options)], Head(None))


def images(count, *, rows=1, seed=0, files=None, width=24):
    """`rows` samples of `count` images each, or of the files given for each image."""
    values = torch.randn(rows, count, 17, width, generator=torch.Generator().manual_seed(seed))
    item = torch.tensor(files) if files is not None else torch.arange(count).expand(rows, -1)
    return {"values": values, "item": item.view(-1, count)}
