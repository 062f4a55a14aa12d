import json

import pytest
import torch

from mmadapt.bench import Options, Workload, bench
from mmadapt.bench import run as running
from mmadapt.errors import RecipeError
from mmadapt.recipe import load_recipe, resolve

SMALL = Workload(batch_size=2, text_tokens=8, labelled_tokens=3, new_tokens=3, vocabulary=40)
ADEM = {"use": "adem", "scales": [[4, 4]], "cls": False, "bottleneck": None}


def recipe(name="one", fusion=None, **blocks):
    return resolve(
        load_recipe(
            {
                "name": name,
                "lm": {"model": "embedded:lm"},
                "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
                "fusion": fusion or ADEM,
                "head": {"use": "caption"},
                **blocks,
            }
        )
    )


def measured(*recipes, **options):
    options = {"workload": SMALL, "rounds": 1, "decode_batch_sizes": (1, 2)} | options
    return bench(recipes, Options(**options), progress=False)


def test_all_rows_are_measured_and_the_lm_is_left_as_it_was(monkeypatch):
    seen = []
    load = running._lm

    def remembering(*args):
        lm = load(*args)
        ids = torch.arange(5, 13)[None]
        seen.append((lm, ids, lm.eval()(ids).logits, set(lm.state_dict())))
        return lm

    monkeypatch.setattr(running, "_lm", remembering)
    results = measured(
        recipe("one"),
        recipe("two", {"use": "epalm", "levels": 2}),
        recipe("three", {"use": "evlm", "num_levels": 2, "head_dim": 16}),
        against=running.AGAINST,
    )
    assert " ".join(result.name for result in results) == (
        "text-only text-only-labelled one two three prefix prefix-lora"
    )
    for result in results:
        assert result.step_seconds > 0 and result.peak_bytes > 0
        assert set(result.decode_tokens_per_second) == set(result.first_token_seconds) == {1, 2}
        assert sum(result.shares.values()) == pytest.approx(1)
        assert list(result.shares) == ["decode", "encoder", "fusion", "lm", "head"]
        assert result.shares["encoder"] == 0 and min(result.shares["lm"], result.shares["head"]) > 0
        assert (result.shares["fusion"] > 0) == (not result.name.startswith("text-only"))
        json.dumps(result.to_dict())
    sizes = {result.name: result.adapter_bytes for result in results}
    assert sizes["text-only"] == 0 < sizes["one"] and sizes["prefix"] < sizes["prefix-lora"]
    lm, ids, logits, keys = seen[0]
    assert torch.equal(lm.eval()(ids).logits, logits) and set(lm.state_dict()) == keys


def test_a_fusion_that_changes_the_encoder_runs_it_in_every_step(monkeypatch):
    from mmadapt_vision.vit import VitEncoder

    calls = []
    forward = VitEncoder.forward

    def counting(self, *args):
        calls.append(torch.is_grad_enabled())
        return forward(self, *args)

    monkeypatch.setattr(VitEncoder, "forward", counting)
    measured(recipe("cached"), against=())
    assert calls == []
    (found,) = measured(recipe("published", ADEM | {"bottleneck": 4}), against=())
    assert found.shares["encoder"] > 0.1
    assert set(calls) == {True, False}  # in the graph in training, outside of it in generation


def test_items_are_media_items_of_a_sample(monkeypatch):
    shapes = []
    features = Workload.features

    def spying(self, *args):
        found = features(self, *args)
        shapes.append(found["image"].levels[0].shape[1])
        return found

    monkeypatch.setattr(Workload, "features", spying)
    many = Workload(2, 8, 3, items=5, new_tokens=2, vocabulary=40)
    measured(recipe(), workload=many, against=())
    assert set(shapes) == {5}


def test_random_weights_need_only_a_configuration():
    (result,) = measured(recipe(), against=(), random_weights=True, decode_batch_sizes=())
    assert result.decode_tokens_per_second == {}


def test_generation_alone():
    (result,) = measured(recipe(), against=(), train=False)
    assert result.step_seconds is None and result.decode_tokens_per_second[1] > 0


def test_what_cannot_be_compared_is_refused():
    other = recipe("other", lm={"model": "elsewhere"})
    with pytest.raises(RecipeError, match="one LM, but the recipes name elsewhere, embedded:lm"):
        measured(recipe(), other)
    with pytest.raises(RecipeError, match="--against floor: known are text-only"):
        measured(recipe(), against=("floor",))


def test_a_small_vocabulary_is_enough():
    many = Workload(1, 48, 3, new_tokens=2)  # draws from 1,000 tokens; this LM knows 89
    results = measured(recipe(), workload=many, against=(), decode_batch_sizes=())
    assert [result.name for result in results] == ["one"]


def test_the_prefix_row_is_a_prefix_beside_any_fusion():
    options, found = Options(), recipe()
    (subject,) = running._prefixes(found, running._lm(found, options), options)
    assert [type(fusion).__name__ for fusion in subject.fusions] == ["PrefixFusion"]
