"""Training from the feature cache is training without: every fusion with every kind of encoder."""

import copy
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from mmadapt.composition import compose
from mmadapt.contracts import encoder_info
from mmadapt.data.cache import MemoryCache
from mmadapt.data.collate import Collator
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.items import Item
from mmadapt.data.views import InMemory
from mmadapt.features.cache import feature_cache
from mmadapt.features.memory import FeatureMemory
from mmadapt.testing.tiny import tiny_lm, tiny_tokenizer
from tests.matrix.parts import ENCODERS, FUSIONS
from tests.plugins.mmadapt_audio import tiny_audio

FUSION_NAMES = ("adem", "epalm, causal", "evlm, dense", "prefix, mlp")
ENCODER_NAMES = ("vit", "vit_frames", "video", "ast", "whisper")
BATCHES = ([0, 1, 2], [3, 4], [1, 0, 4])  # the last one repeats what the others brought


def write_medium(modality, folder, number):
    """A picture, a clip of eight frames, or a sound, all of different content and length."""
    rng = np.random.default_rng(number)
    if modality == "audio":
        path = folder / f"{number}.wav"
        tiny_audio.save_sound(path, tiny_audio.sound(0.2 + 0.1 * number, seed=number))
        return str(path)
    coarse = rng.integers(0, 256, (8, 5, 4, 3), dtype=np.uint8).repeat(10, 1).repeat(10, 2)
    pictures = [Image.fromarray(frame) for frame in coarse]
    path = folder / (f"{number}.gif" if modality == "video" else f"{number}.png")
    if modality == "video":
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    else:
        pictures[0].save(path)
    return str(path)


def joined(fusion, encoder):
    """A model with open gates; equal for equal arguments."""
    torch.manual_seed(0)
    options = FUSIONS[fusion].options(encoder_info(encoder))
    model = compose(
        lm=tiny_lm("llama"),
        tokenizer=tiny_tokenizer(["a", "b"]),
        encoders={"media": encoder},
        fusion={"use": FUSIONS[fusion].use, **options},
        allow_code=True,
    )
    with torch.no_grad():
        for parameter in model.fusions.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def trained(model, samples, disk):
    """Losses of two steps over all batches, and how many items the encoder was run on."""
    encoder, runs = model.encoders["media"], []
    forward = type(encoder).forward

    def counted(inputs, levels):
        runs.append(int((inputs["item"] >= 0).any(dim=1).sum()))
        return forward(encoder, inputs, levels)

    encoder.forward = counted
    cache = MemoryCache(0, None if disk is None else disk.reader)
    dataset = MediaDataset(
        InMemory(samples),
        model.head,
        model.require_tokenizer(),
        model.processors,
        training=True,
        cache=cache,
    )
    optimizer = torch.optim.SGD(list(model.trainable_parameters().values()), lr=0.1)
    losses = []
    with FeatureMemory(model, 0, disk).used():
        for batch in itertools.chain(BATCHES, BATCHES):
            items = [dataset[index] for index in batch]
            assert all(isinstance(item, Item) for item in items), items
            loss = model.train()(**Collator(0)(items)).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    del encoder.forward
    return losses, sum(runs)


@pytest.mark.parametrize("kind", ENCODER_NAMES)
@pytest.mark.parametrize("fusion", FUSION_NAMES)
def test_losses_are_those_without(fusion, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPT_CACHE", str(tmp_path / "cache"))
    encoder = ENCODERS[kind].make()
    samples = [
        {
            "id": str(number),
            "prompt": "a",
            "target": "b" if number % 2 else "a b a",
            "media": [
                {
                    "type": encoder.modality,
                    "path": write_medium(encoder.modality, tmp_path, number),
                }
            ],
        }
        for number in range(5)
    ]
    plain, runs = trained(joined(fusion, copy.deepcopy(encoder)), samples, None)
    assert runs == 16 and len(set(plain)) == len(plain)
    for expected_runs in (5, 0):  # filled, then read
        model = joined(fusion, copy.deepcopy(encoder))
        losses, runs = trained(model, samples, feature_cache(model, model.recipe, wanted=True))
        assert runs == expected_runs
        # Bits of a feature depend on what its batch held besides when it was computed.
        assert losses == pytest.approx(plain, rel=1e-5)
