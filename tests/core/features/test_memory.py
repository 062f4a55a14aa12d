import pytest
import torch

from mmadapt.composition import compose
from mmadapt.data.collate import Collator
from mmadapt.data.dataset import MediaDataset
from mmadapt.features.memory import FeatureMemory
from tests import world


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = world.save_lm(tmp_path_factory.mktemp("lm"))
    return compose(world.recipe(folder), allow_code=True)


@pytest.fixture
def runs(model, monkeypatch):
    """Numbers of rows that the encoder was run on."""
    encoder, counts = model.encoders["image"], []
    forward = encoder.forward

    def counted(inputs, levels):
        counts.append(len(inputs["values"]))
        return forward(inputs, levels)

    monkeypatch.setattr(encoder, "forward", counted)
    return counts


class Several(world.ColourSource):
    """Samples with no, one, two or three files."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        parts = [{"type": "image", "path": f"c{n}/{index}"} for n in range(index % 4)]
        return {**sample, "media": parts}


def batch(model, indices, source=None, **options):
    dataset = MediaDataset(
        source or world.ColourSource(world.ColourConfig()),
        model.head,
        model.tokenizer,
        {"image": ("image", world.ColourProcessor(noise=True))},
        training=True,
        **options,
    )
    return Collator(0)([dataset[index] for index in indices])


def same(one, other):
    for fusion, features in one.items():
        for name, value in features.items():
            twin = other[fusion][name]
            assert torch.equal(value.item, twin.item) and torch.equal(value.mask, twin.mask)
            kept = value.mask[..., None]
            for level, its in zip(value.levels, twin.levels, strict=True):
                assert level.shape == its.shape
                assert torch.allclose(level * kept, its * kept, atol=1e-6)


def test_features_are_those_of_the_model(model):
    memory = FeatureMemory(model, 10**7)
    for indices in ([0, 1, 2, 3], [7, 2, 1, 6], [0, 4], [3, 3, 5]):
        media = batch(model, indices, Several(world.ColourConfig()))["media"]
        same(model.encode(media), memory.encode(media))


def test_a_medium_is_encoded_once(model, runs):
    memory = FeatureMemory(model, 10**7)
    for indices, expected in (([0, 1, 2], [3]), ([2, 1, 0], []), ([1, 5, 5, 0], [1])):
        runs.clear()
        memory.encode(batch(model, indices)["media"])
        assert runs == expected


def test_blank_media_are_one_medium(model, runs):
    memory = FeatureMemory(model, 10**7)
    for _ in range(2):
        memory.encode(batch(model, [0, 1, 2], media="blank")["media"])
    assert runs == [1]


def test_random_media_are_encoded_every_time(model, runs):
    memory = FeatureMemory(model, 10**7)
    for _ in range(2):
        memory.encode(batch(model, [0, 1], augment=True)["media"])
    assert runs == [2, 2]


@pytest.mark.parametrize("why", ["trains", "rewritten"])
def test_an_encoder_that_changes_is_run_every_time(model, runs, monkeypatch, why):
    if why == "trains":
        weight = model.encoders["image"].norm.weight
        weight.requires_grad_(True)
    else:
        monkeypatch.setattr(type(model.attachment), "rewritten", frozenset({"image"}))
    memory = FeatureMemory(model, 10**7)
    for _ in range(2):
        features = memory.encode(batch(model, [0, 1])["media"])
    assert runs == [2, 2]
    if why == "trains":
        assert features["EverySite"]["image"].levels[0].requires_grad
        weight.requires_grad_(False)


def test_memory_that_is_full_changes_nothing_but_the_speed(model, runs):
    memory = FeatureMemory(model, 400)
    media = batch(model, [0, 1, 2])["media"]
    same(memory.encode(media), model.encode(media))
    runs.clear()
    memory.encode(media)
    assert 0 < memory.cache.used <= 400 and runs[0] < 3


def test_the_model_reads_from_memory_inside_the_block_only(model, runs):
    memory = FeatureMemory(model, 10**7)
    inputs = batch(model, [0, 1, 2])
    plain = model(**inputs).loss
    with memory.used():
        losses = [model(**inputs).loss for _ in range(2)]
    assert len(runs) == 2
    assert torch.allclose(torch.stack(losses), plain, atol=1e-6)
    model(**inputs)
    assert len(runs) == 3 and "encode" not in vars(model)


def test_an_encoder_of_which_nothing_is_read_is_remembered_too(model, monkeypatch):
    memory, runs = FeatureMemory(model, 10**7), []
    empty = {name: {} for name in model.fusions}
    monkeypatch.setattr(memory, "_encode", lambda media: runs.append(1) or empty)
    media = batch(model, [0, 1])["media"]
    assert [memory.encode(media) for _ in range(2)] == [empty, empty] and len(runs) == 1
