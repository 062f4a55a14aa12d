"""`train.unfreeze` with every encoder: the named blocks learn through a real forward."""

from __future__ import annotations

import pytest
import torch

from mmadapt.composition import compose, load
from tests import world
from tests.plugins.mmadapt_audio.tiny_audio import save_model as save_audio
from tests.plugins.mmadapt_audio.tiny_audio import sound
from tests.plugins.mmadapt_vision.tiny_vision import frames, picture
from tests.plugins.mmadapt_vision.tiny_vision import save_model as save_vision

ENCODERS = {  # name in a recipe, tiny model, what it is fed
    "vit": ("vit", "image"),
    "vit_clip": ("clip", "image"),
    "vit_dinov3": ("dinov3_vit", "image"),
    "vit_frames": ("vit", "video"),
    "video": ("timesformer", "video"),
    "video_mae": ("videomae", "video"),
    "video_vivit": ("vivit", "video"),
    "ast": ("ast", "audio"),
    "whisper": ("whisper", "audio"),
}
VALUES = {
    "image": lambda: picture(),
    "video": lambda: frames(4),
    "audio": lambda: sound(0.4),
}


@pytest.fixture(params=ENCODERS)
def recipe(request, tmp_path):
    kind, (model, modality) = request.param, ENCODERS[request.param]
    save = save_audio if modality == "audio" else save_vision
    save(model, tmp_path / "encoder")
    use = kind if kind in ("vit_frames", "ast", "whisper") else kind.partition("_")[0]
    options = {"num_frames": 4} if use == "vit_frames" else {}
    options |= {"max_seconds": 0.64} if use == "whisper" else {}
    parts = world.recipe(world.save_lm(tmp_path / "lm"))
    parts["encoders"] = {
        "media": {"use": use, "model": str(tmp_path / "encoder"), **options},
    }
    parts["fusion"] = {"use": "prefix"}
    parts["train"] |= {"unfreeze": [{"encoder": "media", "blocks": "1:"}]}
    return parts, modality


def batch_of(model, modality):
    processor = model.encoders["media"].processor
    result = processor({"type": modality, "value": VALUES[modality]()})
    values, mask = result if isinstance(result, tuple) else (result, None)
    media = {"values": values[None], "item": torch.zeros(1, len(values), dtype=torch.long)}
    if mask is not None:
        media["mask"] = mask[None]
    ids = torch.tensor([[4, 5, 2]])
    return {"input_ids": ids, "labels": ids, "media": {"media": media}}


def test_the_named_blocks_learn_and_come_back(recipe, tmp_path):
    parts, modality = recipe
    torch.manual_seed(0)
    model = compose(parts, allow_code=True).train()
    batch = batch_of(model, modality)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.SGD(model.trainable_parameters().values(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        model(**batch).loss.backward()
        optimiser.step()
    encoder = model.encoders["media"]
    named = {id(p) for p in encoder.block(1).parameters()}  # the last one that prefix reads
    inside = {n for n, p in model.named_parameters() if id(p) in named}
    assert inside and inside == {n for n in model.trainable_parameters() if "encoders." in n}
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert len(moved & inside) > 0.7 * len(inside)  # a key's bias has no gradient
    assert all(name in inside or name.startswith("fusions.") for name in moved)
    assert {n for n, p in model.named_parameters() if p.grad is not None} <= moved | inside
    model.save_pretrained(tmp_path / "adapter")
    again = load(tmp_path / "adapter", allow_code=True)
    with torch.no_grad():
        assert torch.equal(again(**batch).loss, model.eval()(**batch).loss)
