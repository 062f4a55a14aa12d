"""The memory that `check` foretells, beside what a real step takes; `tests.memory.estimate`."""

import json

import pytest
import torch

from mmadapt.checking.example import Batch, example_media, typical_batches
from mmadapt.checking.footprint import ADAPTER, LM, LOSS, OPTIMISER, estimate, footprint
from mmadapt.checking.ledger import imagined
from mmadapt.lm import load_config
from mmadapt.recipe import load_and_resolve, load_recipe, resolve
from tests import world
from tests.memory.estimate import recipe_of, row


@pytest.mark.parametrize(
    ("fusion", "checkpointing", "batch_size"),
    [("adem", False, 8), ("epalm", True, 2), ("evlm", True, 8), ("prefix", False, 2)],
)
def test_estimate_and_measured_peak(fusion, checkpointing, batch_size):
    found = row("embedded", fusion, checkpointing, batch_size)
    assert abs(found.error) < 0.25
    assert abs(found.error_of_step) < 0.25


def test_parts_are_those_of_the_model():
    resolved = recipe_of("embedded", "adem", False, 2)
    small, large = (footprint(resolved, Batch(2, 16, labelled)) for labelled in (4, 8))
    assert small.static[ADAPTER] * 2 == small.static[OPTIMISER]
    vocabulary = load_config(resolved.recipe.lm).vocab_size
    lines = str(small).splitlines()
    assert lines[0].endswith("(estimate for 2 x 16 text tokens, 4 of them learnt)")
    assert "most at one moment" in lines[-1]
    grown = large.activations[LOSS] - small.activations[LOSS]
    assert grown >= 2 * 4 * vocabulary * 4  # logits at labelled positions alone


def test_quantised_weights_count_by_their_bits():
    pytest.importorskip("bitsandbytes")
    full = load_and_resolve("recipes/image_caption_adem.yaml", ["lm.dtype=float32"])
    few = load_and_resolve("recipes/image_caption_adem.yaml", ["lm.quantization=4bit"])
    batch = Batch(2, 16, 4)
    assert footprint(few, batch).static[LM] < 0.5 * footprint(full, batch).static[LM]


def test_the_batch_is_that_of_the_data():
    resolved = load_and_resolve("recipes/image_caption_adem.yaml")
    (batch,), source = typical_batches(resolved)
    assert batch.size == resolved.recipe.train.arguments["per_device_train_batch_size"]
    assert 0 < batch.labelled_tokens < batch.text_tokens
    assert source.startswith("the longest of the first")
    changed = ["data.train.path=gone", "data.train.use=jsonl", "data.max_length=40"]
    unknown = load_and_resolve("recipes/image_caption_adem.yaml", changed)
    assert typical_batches(unknown)[0][0].text_tokens == 40


def test_media_count_together_only_where_samples_have_them_together(tmp_path):
    records = [
        {"image": "a.png", "caption": "a red circle"},
        {"audio": "a.wav", "caption": "a red circle and a blue cross"},
        {"audio": "a.wav", "caption": "a red circle"},
    ]
    for name in ("a.png", "a.wav"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    recipe = {
        "name": "apart",
        "lm": {"model": "embedded:lm"},
        "encoders": {
            "image": {"use": "vit", "model": "embedded:vit"},
            "audio": {"use": "ast", "model": "embedded:ast"},
        },
        "fusion": {"use": "prefix"},
        "head": {"use": "caption", "prompt": "a thing of"},
        "data": {"train": {"use": "jsonl", "path": str(tmp_path / "a.jsonl")}},
    }
    resolved = resolve(load_recipe(recipe))
    batches, _ = typical_batches(resolved)
    assert {batch.modalities for batch in batches} == {frozenset({"image"}), frozenset({"audio"})}
    assert "of media" not in str(found := estimate(resolved)) and found.peak > 0
    assert footprint(resolved, Batch(2, 16, 4, frozenset())).peak < found.peak


def test_an_encoder_may_ask_how_much_of_an_imagined_sound_is_real(monkeypatch):
    encoder = world.ColourEncoder()
    real = torch.tensor([[True, True, False]])
    monkeypatch.setattr(encoder, "processor", lambda media: (torch.rand(1, 3), real))
    with imagined():
        media = example_media(encoder, batch_size=4)
    assert int(media["mask"].sum()) == 8


def test_a_model_of_billions_is_counted_without_memory():
    found = estimate(load_and_resolve("recipes/paper/adem_7b_coco.yaml"))
    assert found.static[LM] == pytest.approx(2 * 6.74e9, rel=0.01)
    assert found.peak > found.static[LM]
    assert not torch.cuda.is_initialized()
