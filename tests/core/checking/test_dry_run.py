"""The dry run: counts, joints and mistakes, without any weights."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mmadapt.checking.dry_run import dry_run
from mmadapt.composition import compose
from mmadapt.contracts import EncoderInfo
from mmadapt.errors import MMAdaptError, ModelError, RecipeError
from mmadapt.recipe import load_recipe
from tests.toy import EverySite
from tests.world import ColourEncoder

PARTS = {
    "name": "parts",
    "lm": {"model": "embedded:lm"},
    "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
    "fusion": {"use": "adem", "scales": [[4, 4]], "cls": False, "bottleneck": None},
    "head": {"use": "caption"},
}
TOY = {"use": "tests.toy:EverySite"}
OWN = "tests.world:ColourEncoder"


def test_counts_are_those_of_the_built_model():
    report = dry_run(load_recipe(PARTS))
    model = compose(PARTS)
    built = {name: p.numel() for name, p in model.trainable_parameters().items()}
    assert report.trainable == built
    assert report.trainable_parameters == sum(built.values())


def test_lora_is_counted_too():
    pytest.importorskip("peft")
    parts = {**PARTS, "lm": {"model": "embedded:lm", "lora": {"r": 2}}}
    report, built = dry_run(load_recipe(parts)), compose(parts).trainable_parameters()
    assert report.trainable == {name: p.numel() for name, p in built.items()}
    lora = sum(p.numel() for name, p in built.items() if "lora" in name)
    assert report.kinds["lm: LoRA"] == lora > 0


def test_joints_tell_the_shapes_that_meet():
    joints = dict(dry_run(load_recipe(PARTS)).joints)
    assert joints["image -> adem"] == [2, 1, 65, 128]
    assert joints["adem memory['keys']"] == [2, 16, 192]
    assert joints["logits"][0] == 2


def test_without_data_the_preview_says_so():
    assert "skipped" in dry_run(load_recipe(PARTS)).previews[0]


def test_without_training_data_in_the_recipe_the_verdict_says_so():
    verdict = dry_run(load_recipe(PARTS)).verdict
    assert verdict == "ok, but training will not start: the recipe has no data.train"


def test_an_encoder_that_names_no_model_is_counted_as_it_is_built():
    recipe = load_recipe({**PARTS, "encoders": {"image": {"use": OWN}}, "fusion": TOY})
    report = dry_run(recipe, allow_code=True)
    model = compose(recipe, allow_code=True)
    assert report.total_parameters == sum(p.numel() for p in model.parameters())


def test_an_encoder_that_needs_values_to_be_built_is_left_out(monkeypatch):
    def refuse(self, config):
        raise ZeroDivisionError

    infos = EncoderInfo("image", 8, 2)
    monkeypatch.setattr(ColourEncoder, "__init__", refuse)
    monkeypatch.setattr(ColourEncoder, "info", lambda config: infos)
    recipe = load_recipe({**PARTS, "encoders": {"image": {"use": OWN}}, "fusion": TOY})
    report = dry_run(recipe, allow_code=True)
    assert report.total_parameters is None
    assert any("'image' cannot be counted" in note for note in report.notes)


def test_departures_name_what_differs_from_the_paper():
    assert any("scales" in text for text in dry_run(load_recipe(PARTS)).departures)


def test_a_scale_that_the_grid_cannot_give_is_an_error():
    fusion = {**PARTS["fusion"], "scales": [[16, 16]]}
    with pytest.raises(RecipeError, match=r"8 x 8|8x8|grid"):
        dry_run(load_recipe({**PARTS, "fusion": fusion}))


def test_a_missing_model_folder_is_one_error():
    with pytest.raises(ModelError, match=r"\./nowhere does not exist"):
        dry_run(load_recipe({**PARTS, "lm": {"model": "./nowhere"}}))


def test_what_trains_is_told_by_kind():
    report = dry_run(load_recipe(PARTS))
    assert report.kinds == {"adem: position tables": 6_144, "adem: projector": 41_280}
    assert "adem: position tables" in str(report)
    assert sum(report.kinds.values()) == report.trainable_parameters


def test_a_recipes_own_departures_come_first():
    recipe = load_recipe({**PARTS, "departures": {"data": "Only a tenth of the data is used."}})
    assert dry_run(recipe).departures[0] == "Only a tenth of the data is used."


def test_a_fusion_that_compares_itself_with_nothing_published_says_so():
    assert dry_run(load_recipe(PARTS)).has_published_method
    toy = load_recipe({**PARTS, "fusion": TOY})
    assert not dry_run(toy, allow_code=True).has_published_method


class Cutting(EverySite):
    """Cannot reduce what it is given."""

    def reduce(self, features):
        return replace(features, levels=(features.levels[0].view(3, -1),))


def test_a_reduction_that_does_not_fit_is_a_joint():
    fusion = {"use": "tests.core.checking.test_dry_run:Cutting"}
    with pytest.raises(RecipeError, match="shapes do not fit after image -> Cutting"):
        dry_run(load_recipe({**PARTS, "fusion": fusion}), allow_code=True)


def test_the_published_class_token_is_checked_too():
    fusion = {"use": "adem", "scales": [[4, 4]]}
    joints = dict(dry_run(load_recipe({**PARTS, "fusion": fusion})).joints)
    without = dict(dry_run(load_recipe(PARTS)).joints)
    more = joints["text with inserted tokens"][1] - without["text with inserted tokens"][1]
    assert more > 1  # the prefix and the class token


def test_names_that_torch_keeps_for_itself_are_refused():
    recipe = {**PARTS, "encoders": {"type": PARTS["encoders"]["image"]}}
    with pytest.raises(RecipeError, match="'type' is reserved"):
        dry_run(load_recipe(recipe))


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ({"use": "vqa", "special_tokens": ["</a>"]}, "the tokens </a> need rows"),
        ({"use": "chat"}, "no chat template"),
        ({"use": "choice", "prompt": "{question} {options}"}, "has no choices"),
    ],
)
def test_what_the_head_lacks_is_an_error(head, reason, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    record = {"image": "a.png", "question": "what is there?", "answer": "a circle"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    data = {"train": {"use": "jsonl", "path": str(tmp_path / "a.jsonl")}}
    with pytest.raises(MMAdaptError, match=reason):
        dry_run(load_recipe({**PARTS, "head": head, "data": data}))
