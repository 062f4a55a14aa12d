"""Commits of hub repositories, read from a cache that is laid out as the hub's client does."""

import json
import shutil

import pytest
from huggingface_hub import constants

from mmadapt.compare.reproduction import reproduce
from mmadapt.composition import compose, load
from mmadapt.errors import RecipeError
from mmadapt.recipe import load_and_resolve, load_recipe
from mmadapt.revisions import commit_of, pinned, revisions
from mmadapt.train import train
from tests import world
from tests.tiny import tiny_tokenizer

OLD, NEW = "0" * 39 + "a", "0" * 39 + "b"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache with one model, of which two commits were downloaded; the second is `main`."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("mmadapt.revisions.hub_is_reachable", lambda: False)
    monkeypatch.setattr("mmadapt.weights.hub_is_reachable", lambda: False)
    folder = cache / "models--org--tiny"
    for commit in (OLD, NEW):
        world.save_lm(folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    point(folder, NEW)
    return folder


def point(folder, commit):
    (folder / "refs" / "main").write_text(commit)


def recipe(**changes):
    splits = {s: {"use": "tests.world:ColourSource", "count": 8} for s in ("train", "test")}
    return world.recipe("org/tiny", data=splits, train={"max_steps": 1}) | changes


def test_a_branch_becomes_a_commit(hub):
    assert commit_of("org/tiny") == NEW
    assert commit_of("org/tiny", "gone") is None
    assert commit_of("org/other") is None


def test_only_what_is_on_the_hub_is_pinned(hub):
    resolved = load_and_resolve(recipe(), allow_code=True)
    found = pinned(resolved)
    assert revisions(found.recipe) == {"lm.revision": NEW}
    assert resolved.recipe.lm.revision is None
    assert pinned(found) is found
    assert pinned(resolved, {"lm.revision": OLD}).recipe.lm.revision == OLD


def test_encoders_and_datasets_are_pinned_too(hub, tmp_path):
    for kind, name in (("models", "vit"), ("datasets", "clips")):
        folder = tmp_path / "hub" / f"{kind}--org--{name}"
        (folder / "snapshots" / OLD).mkdir(parents=True)
        (folder / "refs").mkdir()
        point(folder, OLD)
    pytest.importorskip("datasets")
    source = {"use": "hf", "path": "org/clips", "columns": {"target": "caption", "image": "image"}}
    given = {
        "name": "hub",
        "lm": {"model": "embedded:lm"},
        "encoders": {"image": {"use": "vit", "model": "org/vit"}},
        "fusion": {"use": "prefix"},
        "head": {"use": "caption"},
        "data": {"train": [source, source], "test": source},
    }
    found = pinned(load_and_resolve(given))
    assert set(revisions(found.recipe).values()) == {OLD}
    assert set(revisions(found.recipe)) == {
        "encoders.image.revision",
        "data.train.0.revision",
        "data.train.1.revision",
        "data.test.revision",
    }
    assert found.encoders["image"].config.revision == OLD
    assert [part.config.revision for part in found.sources["train"].parts] == [OLD, OLD]
    text = found.recipe.to_yaml()
    (tmp_path / "r.yaml").write_text(text)
    assert load_recipe(tmp_path / "r.yaml") == found.recipe


@pytest.fixture
def tokenizer(hub):
    """A repository with two commits of a tokenizer, of which the second is `main`."""
    folder = hub.parent / "models--org--words"
    (folder / "refs").mkdir(parents=True)
    for commit, words in ((OLD, world.WORDS), (NEW, world.WORDS[::-1])):
        world.save_lm(folder / "snapshots" / commit)  # whose tokenizer is replaced
        tiny_tokenizer(words).save_pretrained(folder / "snapshots" / commit)
    point(folder, NEW)
    return folder


def test_a_tokenizer_of_another_repository_is_pinned_and_used(tokenizer, hub, tmp_path):
    given = recipe(lm={"model": "org/tiny", "tokenizer": "org/words"})
    resolved = pinned(load_and_resolve(given, allow_code=True))
    assert revisions(resolved.recipe) == {"lm.revision": NEW, "lm.tokenizer_revision": NEW}
    known = {"lm.tokenizer_revision": OLD}
    old = pinned(load_and_resolve(given, allow_code=True), known)
    assert old.recipe.lm.tokenizer_revision == OLD and pinned(old) is old
    first = world.WORDS[0]
    ids = [compose(one).tokenizer.convert_tokens_to_ids(first) for one in (old, resolved)]
    assert ids[0] != ids[1]

    train(given, tmp_path / "run", allow_code=True, quiet=True)
    point(tokenizer, OLD)
    again = load(tmp_path / "run", allow_code=True)
    assert again.tokenizer.convert_tokens_to_ids(first) == ids[1]
    repeated = reproduce(tmp_path / "run", allow_code=True, quiet=True)
    assert repeated.is_exact and repeated.revisions == {}


def test_a_tokenizer_revision_without_a_tokenizer_is_a_mistake():
    given = recipe(lm={"model": "org/tiny", "tokenizer_revision": OLD})
    with pytest.raises(RecipeError, match=r"lm\.tokenizer_revision: belongs to lm\.tokenizer"):
        load_and_resolve(given, allow_code=True)


def test_a_run_says_which_commit_and_which_packages_it_used(hub, tmp_path):
    train(recipe(), tmp_path / "run", allow_code=True, quiet=True)
    for saved in ("recipe.yaml", "adapter/recipe.yaml"):
        assert load_recipe(tmp_path / "run" / saved).lm.revision == NEW
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"torch", "transformers", "mmadapt", "python"} <= set(report["settings"]["versions"])

    point(hub, OLD)  # the branch moves; the run is repeated from the commit that it used
    again = reproduce(tmp_path / "run", allow_code=True, quiet=True)
    assert again.is_exact and again.revisions == {}
    train(recipe(), tmp_path / "run", resume=True, allow_code=True, quiet=True)  # still the same

    (tmp_path / "run" / "recipe.yaml").write_text(
        (tmp_path / "run" / "recipe.yaml").read_text().replace(f"  revision: {NEW}\n", "")
    )
    shutil.rmtree(tmp_path / "run-reproduced")
    moved = reproduce(tmp_path / "run", allow_code=True, quiet=True)
    assert moved.revisions == {"lm.revision": (None, OLD)}
    assert f"lm.revision: not pinned then, {OLD} now" in str(moved)
