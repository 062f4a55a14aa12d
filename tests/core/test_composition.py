"""`compose`: nothing that is given is ignored."""

from __future__ import annotations

import pytest
import torch

from mmadapt.composition import compose
from mmadapt.errors import RecipeError
from mmadapt.recipe import load_recipe, resolve
from tests import world


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ({"fusion": "adem"}, "fusion="),
        ({"lm": "other"}, "lm="),
        ({"head": "caption"}, "head="),
        ({"encoders": {"image": {"use": "vit"}}}, "encoders="),
    ],
)
def test_a_part_beside_a_recipe_is_refused(lm, extra, name):
    with pytest.raises(RecipeError, match=f"given a recipe and {name} too"):
        compose(world.recipe(lm), allow_code=True, **extra)


def test_overrides_cannot_change_a_loaded_recipe(lm):
    recipe = load_recipe(world.recipe(lm))
    for loaded in (recipe, resolve(recipe, allow_code=True)):
        with pytest.raises(RecipeError, match=r"overrides \(lm\.dtype=float16\) cannot change"):
            compose(loaded, overrides=["lm.dtype=float16"], allow_code=True)
    model = compose(world.recipe(lm), overrides=["lm.dtype=float16"], allow_code=True)
    assert model.lm.dtype == torch.float16


def test_built_parts_take_the_place_of_those_they_name(lm):
    encoder, head = world.ColourEncoder(), world.PlainHead(None)
    model = compose(world.recipe(lm), encoders={"image": encoder}, head=head, allow_code=True)
    assert model.encoders["image"] is encoder and model.head is head
    with pytest.raises(RecipeError, match="encoders= names 'picture'; the recipe has image"):
        compose(world.recipe(lm), encoders={"picture": encoder}, allow_code=True)


@pytest.mark.parametrize("name", ["keys", "type", "train", "forward", "add_module"])
def test_names_that_torch_keeps_for_itself_are_refused_before_anything_loads(name):
    recipe = world.recipe("/nowhere/at/all")
    recipe["encoders"] = {name: recipe["encoders"]["image"]}
    with pytest.raises(RecipeError, match=f"encoders.{name}: '{name}' is reserved; choose another"):
        compose(recipe, allow_code=True)
    recipe = world.recipe("/nowhere/at/all", fusion={"name": name})
    with pytest.raises(RecipeError, match=f"the name '{name}' is reserved"):
        compose(recipe, allow_code=True)
