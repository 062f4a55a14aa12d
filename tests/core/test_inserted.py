import pytest
import torch

from mmadapt.composition import compose
from mmadapt.data.collate import Collator
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.length import InsertedTokens
from mmadapt.data.views import InMemory
from mmadapt.inserted import inserted_tokens, length_limit
from mmadapt.recipe import DataConfig
from tests import world


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


def model_of(lm, **fusion):
    recipe = world.recipe(lm)
    recipe["fusion"] = fusion
    return compose(recipe, allow_code=True)


def sample(*paths):
    media = [{"type": "image", "path": path} for path in paths]
    return {"id": "a", "prompt": "say", "target": "red", "media": media}


@pytest.mark.parametrize(
    "fusion",
    [
        {"use": "prefix", "connector": "linear"},
        {"use": "tests.toy:EverySite", "sites": ["mlp_output"]},
        {"use": "evlm", "num_tokens": 3, "num_levels": 2},
    ],
)
@pytest.mark.parametrize("files", [0, 1, 3])
def test_the_count_is_what_a_forward_inserts(lm, fusion, files):
    model = model_of(lm, **fusion)
    source = InMemory([sample(*[f"c{i}/{i}" for i in range(files)])])
    item = MediaDataset(source, model.head, model.tokenizer, model.processors, training=True)[0]
    with torch.no_grad():
        text = model(**Collator(0)([item])).text
    media = [(medium.encoder, len(medium.values)) for medium in item.media]
    assert inserted_tokens(model).count(media) == int(text.attention_mask.sum()) - len(
        item.input_ids
    )


def test_a_fusion_that_cannot_be_asked_counts_as_nothing(lm, monkeypatch):
    model = model_of(lm, use="prefix", connector="linear")

    def picky(inputs, features):
        if features and features["image"].item.shape[1] != 1:
            raise RuntimeError("one item is what this encoder gives")
        return inputs

    monkeypatch.setattr(model.fusions["prefix"], "embeds", picky)
    assert inserted_tokens(model) == InsertedTokens()


def test_counting_draws_no_random_numbers(lm, monkeypatch):
    model = model_of(lm, use="prefix", connector="linear")
    monkeypatch.setattr(model.fusions["prefix"], "embeds", lambda text, _: (torch.rand(1), text)[1])
    before = torch.get_rng_state()
    inserted_tokens(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_tokens_without_a_position_take_no_room(lm):
    model = model_of(lm, use="epalm", start=0, end=1)
    assert inserted_tokens(model).count([("image", 1)]) == 0


def test_the_limit_is_the_recipes_or_the_lms(lm):
    model = model_of(lm, use="prefix", connector="linear")
    own = model.lm.config.max_position_embeddings
    assert length_limit(model, DataConfig()).max_length == own
    limit = length_limit(model, DataConfig(max_length=7, too_long="skip"), reserved=2)
    assert (limit.max_length, limit.too_long, limit.reserved) == (7, "skip", 2)
    assert isinstance(limit.inserted, InsertedTokens) and limit.inserted.count([("image", 1)]) > 1
