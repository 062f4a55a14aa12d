"""Several fusions over one LM: video by one, sound by another, both by a third.

Samples of one batch have any of the media, or none; what one of them has changes nothing for the
others.
"""

from __future__ import annotations

import pytest
import torch

from mmadapt.composition import compose, load
from mmadapt.data.collate import Collator
from mmadapt.data.dataset import MediaDataset
from mmadapt.evaluate import evaluate
from mmadapt.train import train
from tests import world

HERE = "tests.plugins.test_several_fusions"
ADEM = {"use": "adem", "scales": [[2, 2], [1, 1]], "beta": 1.0, "alpha": 1.0, "bottleneck": 4}
EPALM = {"use": "epalm", "levels": 2, "prompt_length": 2, "start": 0, "end": 4}
EVLM = {"use": "evlm", "num_levels": 2, "num_tokens": 2, "head_dim": 8}
PREFIX = {"use": "prefix", "connector": "linear", "level": -1}
MIXES = {
    "adem-epalm-prefix": [
        {**ADEM, "encoders": ["video"]},
        {**EPALM, "encoders": ["sound"]},
        {**PREFIX, "encoders": ["video", "sound"]},
    ],
    "evlm-epalm": [{**EVLM, "encoders": ["video"]}, {**EPALM, "encoders": ["sound"]}],
    "prefix-evlm-adem": [
        {**PREFIX, "encoders": ["sound"]},
        {**EVLM, "encoders": ["sound", "video"]},
        {**ADEM, "encoders": ["video"]},
    ],
    "adem-adem": [
        {**ADEM, "encoders": ["video"], "name": "seeing"},
        {**ADEM, "encoders": ["sound"], "name": "hearing", "learning_rate": 0.001},
    ],
}
FAMILIES = ["llama", "mistral"]  # mistral's windows are shorter than the texts
TOLERANCE = 2e-5  # float32, logits of the order of 1


class Video(world.ColourEncoder):
    modality = "video"


class Sound(world.ColourEncoder):
    modality = "audio"


class Mixed(world.ColourSource):
    """In turn: text alone, video, sound, both, sound before video, two videos."""

    KINDS = ((), ("video",), ("audio",), ("video", "audio"), ("audio", "video"), ("video",) * 2)

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        path = sample["media"][0]["path"]
        kinds = self.KINDS[index % len(self.KINDS)]
        prompt = " ".join(["say"] * (1 + index % 3))
        # Different ones: tokens of equal media tie, and noise decides which of them ADEM drops.
        media = [{"type": kind, "path": f"{path}{n}"} for n, kind in enumerate(kinds)]
        return {**sample, "prompt": prompt, "media": media}


def recipe_of(mix, lm):
    recipe = world.recipe(lm, train={"max_steps": 2, "per_device_train_batch_size": 6})
    recipe["encoders"] = {"video": {"use": f"{HERE}:Video"}, "sound": {"use": f"{HERE}:Sound"}}
    recipe["fusion"] = MIXES[mix]
    for split in ("train", "test"):
        recipe["data"][split]["use"] = f"{HERE}:Mixed"
    return recipe


@pytest.fixture(scope="module", params=FAMILIES)
def lm(request, tmp_path_factory):
    return save(request.param, tmp_path_factory.mktemp("lm"))


def save(family, folder):
    from tests.tiny import tiny_lm, tiny_tokenizer

    tokenizer = tiny_tokenizer([*world.WORDS, "Video", "Audio", ":", "N", "/", "A"])
    model = tiny_lm(family, vocab_size=len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(params=MIXES)
def model(request, lm):
    torch.manual_seed(0)
    model = compose(recipe_of(request.param, lm), allow_code=True)
    with torch.no_grad():  # zero gates open
        for name, parameter in model.trainable_parameters().items():
            if name.startswith("fusions."):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def batch_of(model, indices, training=True):
    data = MediaDataset(
        Mixed(world.ColourConfig()),
        model.head,
        model.require_tokenizer(),
        model.processors,
        training=training,
    )
    return Collator(0, with_labels=training)([data[index] for index in indices])


def padded_left(batch):
    """The same batch, its padding in front."""
    mask = batch["attention_mask"]
    order = mask.long().argsort(dim=1, stable=True)
    shift = (~mask).sum(dim=1, keepdim=True)
    positions = batch["media_positions"]
    moved = {key: batch[key].gather(1, order) for key in batch if key in ("input_ids", "labels")}
    return {
        **batch,
        **moved,
        "attention_mask": mask.gather(1, order),
        "media_positions": torch.where(positions < 0, positions, positions + shift),
    }


@torch.no_grad()
def logits_of_rows(model, batch):
    """Per sample, the logits that predict its labels."""
    output = model(**batch, return_logits="all")
    labels = output.text.labels[:, 1:] != -100
    return [row[:-1][real] for row, real in zip(output.logits, labels, strict=True)]


def test_a_samples_logits_do_not_depend_on_its_neighbours_or_the_side_of_padding(model):
    alone = [logits_of_rows(model, batch_of(model, [index]))[0] for index in range(6)]
    for batch in (batch_of(model, range(6)), padded_left(batch_of(model, range(6)))):
        for index, row in enumerate(logits_of_rows(model, batch)):
            assert row.shape == alone[index].shape
            torch.testing.assert_close(row, alone[index], atol=TOLERANCE, rtol=0)
    for one, other in ((1, 2), (1, 3), (3, 4), (1, 5)):  # the media matter
        pair = [logits_of_rows(model, batch_of(model, [i]))[0] for i in (one, other)]
        same_text = one % 3 == other % 3
        assert not same_text or (pair[0] - pair[1]).abs().max() > 1e-3


def test_media_of_the_neighbours_change_nothing(model):
    batch = batch_of(model, range(6))
    before = logits_of_rows(model, batch)
    for inputs in batch["media"].values():
        inputs["values"][3] += 1.0
    for index, (one, other) in enumerate(zip(before, logits_of_rows(model, batch), strict=True)):
        difference = float((one - other).abs().max())
        assert difference > 1e-3 if index == 3 else difference == 0


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_is_that_of_each_sample_alone_with_and_without_cache(model, beams):
    options = {"max_new_tokens": 5, "num_beams": beams}
    batch = batch_of(model, range(6), training=False)
    batch.pop("labels", None)
    cached = model.generate_batch(**batch, **options)
    assert torch.equal(model.generate_batch(**batch, **options, use_cache=False), cached)
    assert torch.equal(model.generate_batch(**padded_left(batch), **options), cached)
    for index in range(6):
        one = batch_of(model, [index], training=False)
        one.pop("labels", None)
        assert torch.equal(model.generate_batch(**one, **options)[0], cached[index])
    assert len({tuple(row.tolist()) for row in cached}) > 1


def test_every_parameter_learns_from_a_mixed_batch(model):
    model.train()
    model(**batch_of(model, range(6))).loss.backward()
    trained = model.trainable_parameters()
    idle = {name for name, p in trained.items() if p.grad is None or not p.grad.any()}
    # Bottlenecks of blocks that nothing reads; slots before the windows of the text behind them.
    windowed = getattr(model.lm.config, "sliding_window", None) is not None
    allowed = (".bottlenecks.", ".connectors.") if windowed else (".bottlenecks.",)
    assert all(any(part in name for part in allowed) for name in idle), idle
    assert all(p.grad is None for n, p in model.named_parameters() if n not in trained)
    model.zero_grad()
    assert model(**batch_of(model, [0])).loss.isfinite()  # text alone


def test_a_prefix_stands_in_the_order_of_the_files(tmp_path):
    recipe = recipe_of("adem-adem", save("llama", tmp_path))
    recipe["fusion"] = {**PREFIX, "encoders": ["video", "sound"]}
    model = compose(recipe, allow_code=True).eval()
    batch = batch_of(model, [3, 4])  # video and sound; sound and video
    with torch.no_grad():
        text = model(**batch).text
        own = {
            name: model.fusions["prefix"].connectors[name](features.levels[0][:, 0])
            for name, features in model.encode(batch["media"])["prefix"].items()
        }
    for row, names in enumerate((("video", "sound"), ("sound", "video"))):
        inserted = text.embeds[row][text.spans["prefix"][row] > 0]
        torch.testing.assert_close(inserted, torch.cat([own[name][row] for name in names]))


@pytest.mark.parametrize("mix", MIXES)
def test_a_run_trains_scores_and_comes_back(mix, tmp_path):
    lm = save("llama", tmp_path / "lm")
    result = train(recipe_of(mix, lm), tmp_path / "run", allow_code=True, quiet=True)
    assert result["steps"] == 2 and result["metrics"].keys() == {"Exact"}
    model, again = (load(tmp_path / "run", allow_code=True) for _ in range(2))
    fresh = compose(recipe_of(mix, lm), allow_code=True).eval()
    batch = batch_of(model, range(6))
    rows = logits_of_rows(model, batch)
    pairs = zip(rows, logits_of_rows(again, batch), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert any(
        not torch.equal(one, other)
        for one, other in zip(rows, logits_of_rows(fresh, batch), strict=True)
    )
    source = Mixed(world.ColourConfig(start=100, count=16))
    options = {"generate": {"max_new_tokens": 2}, "description": None}
    for size in (1, 5):
        found = evaluate(model, source, {"exact": world.Exact}, batch_size=size, **options)
        answers = [prediction["answer"] for prediction in found.predictions]
        assert answers == [prediction["answer"] for prediction in result["predictions"]]
    bare = type(model.lm).from_pretrained(lm)
    model.attachment.detach()
    assert torch.equal(model.lm(batch["input_ids"]).logits, bare(batch["input_ids"]).logits)
