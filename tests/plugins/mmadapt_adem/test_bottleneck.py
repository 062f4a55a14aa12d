"""Bottlenecks beside an encoder's MLPs: their equation, their undoing, their dropout."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmadapt.attach import Attachment
from mmadapt.contracts import encoder_info
from mmadapt.errors import RecipeError
from mmadapt.types import LevelSpec
from mmadapt_adem.bottleneck import Bottleneck
from mmadapt_adem.config import AdemConfig
from mmadapt_adem.fusion import AdemFusion
from tests.tiny import TinyEncoder, context, tiny_lm

LEVEL = [LevelSpec(4, normed=True)]


def attached(encoder: TinyEncoder) -> tuple[AdemFusion, Attachment]:
    lm = tiny_lm("llama")
    config = AdemConfig(scales=[(4, 4)], bottleneck=3)
    fusion = AdemFusion(config, context(lm, {"image": encoder}))
    return fusion, Attachment(lm, [fusion], {"image": encoder})


def test_equation_and_start() -> None:
    torch.manual_seed(0)
    bottleneck, x = Bottleneck(6, 3).eval(), torch.randn(2, 5, 6)
    assert bottleneck(x).abs().sum() == 0
    torch.nn.init.normal_(bottleneck.fc2.weight)
    inside = torch.nn.functional.gelu(x @ bottleneck.fc1.weight.T)
    torch.testing.assert_close(bottleneck(x), 0.1 * inside @ bottleneck.fc2.weight.T)
    assert not torch.equal(bottleneck.train()(x), bottleneck(x))  # dropout is alive


def test_keeps_the_precision_of_the_encoder() -> None:
    assert Bottleneck(6, 3)(torch.randn(2, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_changes_the_encoder_until_undone() -> None:
    torch.manual_seed(0)
    encoder = TinyEncoder()
    media = encoder.inputs(2)
    before = encoder(media, LEVEL).levels[0]
    fusion, attachment = attached(encoder)
    assert attachment.rewritten == {"image"}
    assert torch.equal(encoder(media, LEVEL).levels[0], before)  # fc2 starts at zero
    for parameter in fusion.bottlenecks.parameters():
        torch.nn.init.normal_(parameter)
    assert not torch.allclose(encoder(media, LEVEL).levels[0], before)
    attachment.detach()
    assert torch.equal(encoder(media, LEVEL).levels[0], before)
    assert not any(module._forward_hooks for module in encoder.modules())


def test_an_encoder_without_mlps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, block: int) -> None:
        raise TypeError("no MLPs here")

    monkeypatch.setattr(TinyEncoder, "mlp", refuse)
    with pytest.raises(RecipeError, match="encoder 'image': no MLPs here; set bottleneck: null"):
        attached(TinyEncoder())
    assert encoder_info(TinyEncoder()).num_levels == 6
