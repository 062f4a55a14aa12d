from contextlib import nullcontext

import pytest
import torch

from mmadapt.checking.dry_run import dry_run
from mmadapt.composition import compose
from mmadapt.contracts import Processor
from mmadapt.errors import RecipeError
from mmadapt.features.cache import feature_cache
from mmadapt.features.refusals import refuse_recipe
from mmadapt.recipe import load_recipe
from mmadapt.testing.tiny import TinyEncoder, TinyEncoderConfig, tiny_lm, tiny_tokenizer
from tests import world

FUSIONS = {
    "adem": {"use": "adem", "scales": [[1, 2]], "cls": False, "bottleneck": None},
    "epalm": {"use": "epalm", "prompt_length": 2, "start": 1, "pool": "mean"},
    "evlm": {"use": "evlm", "num_levels": 2, "span": 2, "num_tokens": 2},
    "prefix": {"use": "prefix", "connector": "linear"},
}


class WithoutGrid(TinyEncoder):
    """Its tokens are no grid; their number is the same for all media."""

    def __init__(self, config=None):
        super().__init__(config)
        self.grid = None
        self.processor = Rows(fixed=True)


class Varying(WithoutGrid):
    """The number of its tokens follows the longest of a batch."""

    def __init__(self, config=None):
        super().__init__(config)
        self.processor = Rows(fixed=False)


class Rows(Processor):
    """A picture's rows."""

    def __init__(self, fixed):
        self.fixed = fixed

    def __call__(self, media, rng=None):
        rows = torch.from_numpy(media["value"])[None, :, 0].float()
        return rows[:, :8] if self.fixed else rows


def model(fusion, encoder=TinyEncoder, **options):
    torch.manual_seed(0)
    return compose(
        lm=tiny_lm("llama"),
        tokenizer=tiny_tokenizer(),
        encoders={"image": encoder(TinyEncoderConfig())},
        fusion={**FUSIONS[fusion], **options},
        allow_code=True,
    )


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPT_CACHE", str(tmp_path))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_frozen_encoders_are_taken(fusion):
    found = model(fusion)
    assert feature_cache(found, found.recipe, wanted=True) is not None
    assert feature_cache(found, found.recipe) is None  # unless the recipe asks for it


def test_a_fixed_number_of_tokens_is_taken_without_a_grid():
    found = model("adem", WithoutGrid)
    assert feature_cache(found, found.recipe, wanted=True) is not None


@pytest.mark.parametrize("fusion", FUSIONS)
def test_pooling_by_the_padding_of_a_batch_is_refused(fusion):
    found = model(fusion, Varying)
    expected = pytest.raises(RecipeError, match="longest") if fusion == "adem" else nullcontext()
    with expected:
        feature_cache(found, found.recipe, wanted=True)


def test_an_encoder_that_a_fusion_edits_is_refused():
    found = model("adem", bottleneck=4)
    with pytest.raises(RecipeError, match=r"'image'.*bottleneck"):
        feature_cache(found, found.recipe, wanted=True)


def test_check_refuses_it_before_anything_is_loaded():
    published = ["fusion.cls=false", "fusion.bottleneck=4", "data.cache=true"]
    recipe = load_recipe("recipes/video_caption_adem.yaml", published)
    with pytest.raises(RecipeError, match="fusion 'adem' edits its encoder"):
        dry_run(recipe)


def test_an_encoder_that_trains_is_refused():
    found = model("prefix")
    next(found.encoders.parameters()).requires_grad_(True)
    with pytest.raises(RecipeError, match="'image' trains"):
        feature_cache(found, found.recipe, wanted=True)


def test_a_processor_without_a_name_is_refused():
    found = model("prefix")
    found.encoders["image"].processor.scale = lambda x: x
    with pytest.raises(RecipeError, match="cannot be named"):
        feature_cache(found, found.recipe, wanted=True)


@pytest.mark.parametrize(
    "blocks, expected",
    [
        ({"data": {"augment": True}}, "data.augment"),
        ({"train": {"unfreeze": [{"encoder": "image"}]}}, "blocks of 'image' train"),
    ],
)
def test_what_the_recipe_tells_is_refused_before_anything_is_loaded(tmp_path, blocks, expected):
    with pytest.raises(RecipeError, match=expected) as caught:
        refuse_recipe(load_recipe(world.recipe(tmp_path / "none", **blocks)))
    assert "data.cache: false" in str(caught.value)
