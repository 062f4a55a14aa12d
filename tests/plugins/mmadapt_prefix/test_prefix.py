"""The prefix fusion against the LM called with the same embeddings by hand."""

from __future__ import annotations

import pytest
import torch

from mmadapt.contracts import Head
from mmadapt.errors import RecipeError
from mmadapt.model import MultimodalModel
from mmadapt_prefix.fusion import PrefixConfig, PrefixFusion
from tests.tiny import TinyEncoder, context, tiny_lm


def build(connector: str = "mlp", items: int = 1, family: str = "llama", **options):
    lm, encoder = tiny_lm(family), TinyEncoder(items=items)
    torch.manual_seed(1)
    config = PrefixConfig(connector=connector, **options)
    fusion = PrefixFusion(config, context(lm, {"image": encoder}, "prefix"))
    return MultimodalModel(lm, None, {"image": encoder}, [fusion], Head(None)), encoder


def test_equals_the_lm_on_hand_made_embeddings():
    model, encoder = build("linear")
    ids = torch.tensor([[1, 5, 6, 7, 8]])
    media = {"image": encoder.inputs(1)}
    logits = model(ids, media=media, media_positions=torch.tensor([[1]])).logits
    fusion = model.fusions["prefix"]
    tokens = encoder(media["image"], fusion.levels(fusion.context.encoders["image"])).levels[0]
    projected = fusion.connectors["image"](tokens[:, 0, 1:])
    words = model.lm.get_input_embeddings()(ids)
    by_hand = torch.cat([words[:, :1], projected, words[:, 1:]], dim=1)
    model.attachment.detach()
    expected = model.lm(inputs_embeds=by_hand).logits
    assert logits.shape == (1, 5 + 16, 96)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("connector", "count"), [("linear", 32), ("mlp", 32), ("resampler", 8)])
def test_tokens_of_every_item_stand_at_their_file(connector, count):
    model, encoder = build(connector, items=2, num_queries=4)
    inputs = encoder.inputs(2)
    inputs["item"] = torch.tensor([[0, 1], [0, -1]])  # two images; one image and padding
    output = model(
        torch.arange(4, 12).repeat(2, 1),
        media={"image": inputs},
        media_positions=torch.tensor([[1, 4], [2, -1]]),
    )
    span = output.text.spans["prefix"]
    per_item = count // 2
    assert span[0].nonzero().squeeze(1).tolist() == [
        *range(1, 1 + per_item),
        *range(4 + per_item, 4 + 2 * per_item),
    ]
    assert (span[1] > 0).sum() == per_item
    assert output.text.attention_mask[1].sum() == 8 + per_item


def test_a_batch_without_media_is_the_plain_lm():
    model, _ = build()
    ids = torch.arange(4, 12)[None]
    logits = model(ids).logits
    model.attachment.detach()
    assert torch.equal(logits, model.lm(ids).logits)


def test_generation_with_and_without_cache_agrees_on_unequal_lengths():
    model, encoder = build(items=2)
    ids = torch.randint(4, 90, (2, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    media = {"image": encoder.inputs(2)}
    cached = model.generate_batch(ids, mask, media, max_new_tokens=16)
    uncached = model.generate_batch(ids, mask, media, max_new_tokens=16, use_cache=False)
    second = {"image": {key: value[1:] for key, value in media["image"].items()}}
    alone = model.generate_batch(ids[1:, :5], None, second, max_new_tokens=16)
    assert torch.equal(cached, uncached)
    assert torch.equal(cached[1:], alone)
    assert len(set(cached[0].tolist())) > 3


def test_pool_averages_the_grid_of_every_item():
    model, encoder = build("linear", items=2, pool=(2, 2))
    fusion = model.fusions["prefix"]
    features = encoder(encoder.inputs(1), fusion.levels(fusion.context.encoders["image"]))
    reduced = fusion.reduce(features).levels[0]
    grid = features.levels[0][0, 1, 1:].view(4, 4, -1)
    assert reduced.shape[:3] == (1, 2, 4)
    torch.testing.assert_close(reduced[0, 1, 1], grid[:2, 2:].mean(dim=(0, 1)))


def test_a_pool_finer_than_the_grid_is_refused():
    with pytest.raises(RecipeError, match=r"scale \[8, 8\] is finer than the 4 x 4 grid"):
        build(pool=(8, 8))
