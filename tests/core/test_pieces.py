"""Long media go through an encoder in pieces, with the same features and less memory."""

from __future__ import annotations

import pytest
import torch

from mmadapt.checking.ledger import Ledger
from mmadapt.composition import compose
from tests.plugins.test_batch_sizes import FUSIONS


@pytest.fixture(params=FUSIONS)
def model(request):
    return compose(
        lm="embedded:lm",
        encoders={"image": {"use": "vit", "model": "embedded:vit"}},
        fusion=FUSIONS[request.param],
    ).eval()


def media(items):
    """Two samples: `items` images, and all but the last three."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 255, (2, items, 3, 64, 64), generator=generator, dtype=torch.uint8)
    item = torch.arange(items).repeat(2, 1)
    item[1, -3:] = -1
    return {"image": {"values": values, "item": item}}


def encoded(model, items):
    """The features, the number of items of each call, and the bytes alive at most."""
    encoder, counts = model.encoders["image"], []
    handle = encoder.register_forward_pre_hook(
        lambda _, args: counts.append(args[0]["item"].shape[1])
    )
    with Ledger() as ledger, torch.no_grad():
        [features] = [found["image"] for found in model.encode(media(items)).values()]
    handle.remove()
    return features, counts, ledger.total(ledger.peak)


def test_pieces_give_the_features_of_the_whole_in_less_memory(model):
    encoder = model.encoders["image"]
    assert encoder.items_at_once == 32
    encoder.items_at_once = 4
    found, counts, peak = encoded(model, 22)
    assert counts == [4, 4, 4, 4, 4, 2]  # the second sample has padding alone in the last
    encoder.items_at_once = None
    whole, counts, most = encoded(model, 22)
    assert counts == [22]
    assert torch.equal(found.item, whole.item) and torch.equal(found.mask, whole.mask)
    assert len(found.levels) == len(whole.levels)
    for level, expected in zip(found.levels, whole.levels, strict=True):
        seen = whole.mask[..., None]
        torch.testing.assert_close(level * seen, expected * seen, atol=1e-5, rtol=1e-5)
    assert peak < 0.6 * most


def test_what_trains_goes_as_a_whole(model):
    encoder = model.encoders["image"]
    encoder.items_at_once = 4
    counts = []
    encoder.register_forward_pre_hook(lambda _, args: counts.append(args[0]["item"].shape[1]))
    encoder.block(0).requires_grad_(True)
    model.encode(media(6))
    encoder.block(0).requires_grad_(False)
    model.encode(media(6))  # frozen: without gradients, whatever the caller's mode
    assert counts == [6, 4, 2]


def test_an_encoder_may_say_that_its_items_belong_together():
    from mmadapt.testing.tiny import TinyEncoder

    assert TinyEncoder().items_at_once is None
