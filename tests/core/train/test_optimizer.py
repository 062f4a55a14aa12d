import pytest
import torch
from torch import nn

from mmadapt.composition import compose
from mmadapt.errors import RecipeError
from mmadapt.train.optimizer import parameter_groups
from tests import world


@pytest.fixture
def model(tmp_path):
    recipe = world.recipe(world.save_lm(tmp_path))
    return compose(recipe, allow_code=True)


def names(model, group):
    known = {id(p): name for name, p in model.trainable_parameters().items()}
    return {known[id(p)] for p in group["params"]}


def test_every_trainable_parameter_is_in_one_group(model):
    all_names = set(model.trainable_parameters())
    decays = {name for name in all_names if name.endswith("weight")}
    groups = parameter_groups(model, decays, 0.1, 0.01, model.recipe)
    assert [names(model, g) for g in groups] == [decays, all_names - decays]
    assert [(g["weight_decay"], g["lr"]) for g in groups] == [(0.01, 0.1), (0.0, 0.1)]
    assert all(p.requires_grad for g in groups for p in g["params"])


def test_a_fusion_may_bring_groups_and_a_learning_rate(model, monkeypatch):
    fusion = model.fusions["EverySite"]
    own = [{"params": [fusion.project.weight], "lr": 7.0, "weight_decay": 0.5}]
    rates = []
    monkeypatch.setattr(
        type(fusion), "param_groups", lambda self, rate, decay: rates.append(rate) or own
    )
    recipe = model.recipe.model_copy(deep=True)
    recipe.fusion.learning_rate = 0.2
    groups = parameter_groups(model, set(), 0.1, 0.01, recipe)
    assert rates == [0.2] and groups[0] == own[0]
    assert groups[1]["lr"] == 0.2
    assert "fusions.EverySite.project.weight" not in names(model, groups[1])
    assert sum(len(g["params"]) for g in groups) == len(model.trainable_parameters())


def test_parameters_outside_the_fusions_train_at_the_common_rate(model):
    model.lm.lm_head.weight.requires_grad_(True)
    groups = parameter_groups(model, {"lm.lm_head.weight"}, 0.1, 0.01, model.recipe)
    (group,) = [g for g in groups if any(p is model.lm.lm_head.weight for p in g["params"])]
    assert group["weight_decay"] == 0.01 and "lr" not in group
    torch.optim.AdamW(groups, lr=0.1)


def test_a_recipe_that_trains_nothing_is_refused(model):
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(RecipeError, match="trains nothing"):
        parameter_groups(model, set(), 0.1, 0.0)
    assert isinstance(model, nn.Module)
