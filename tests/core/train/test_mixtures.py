"""Runs over mixtures: text beside media, shares, groups of similar length, workers, resuming."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mmadapt.data.items import Item
from mmadapt.errors import RecipeError
from mmadapt.train import train
from mmadapt.train.trainer import AdapterTrainer
from tests import world

HERE = "tests.core.train.test_mixtures"


class TextOnly(world.ColourSource):
    """No media, prompts of 1 to 6 words, and a target drawn by the head."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        words = ["say", "dark", "light"] * 2
        prompt = " ".join(words[: 1 + index % 6])
        return {**sample, "id": f"text{index}", "prompt": prompt, "media": []}


class NoisyEncoder(world.ColourEncoder):
    """Whose processor augments."""

    def __init__(self, config=None):
        super().__init__(config)
        self.processor = world.ColourProcessor(noise=True)


MIXED = [
    {"use": "tests.world:ColourSource", "count": 20, "weight": 3},
    {"use": f"{HERE}:TextOnly", "count": 12, "weight": 1},
]


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


def recipe_of(lm, **keys):
    keys = {"max_steps": 14, "save_steps": 2, "logging_steps": 1, **keys}
    data = {"train": MIXED, "augment": True}
    return world.recipe(
        lm,
        data=data,
        train=keys,
        encoders={"image": {"use": f"{HERE}:NoisyEncoder"}},
        evaluate={"metrics": []},
    )


def run(recipe, folder, **options):
    return train(recipe, folder, allow_code=True, quiet=True, **options)


def adapter(folder):
    return load_file(folder / "adapter" / "adapter.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def met(monkeypatch):
    """The batches that training meets: ids of each."""
    batches = []
    original = AdapterTrainer.get_train_dataloader

    def spied(self):
        collate = self.data_collator

        def tell(results):
            batches.append([item.id for item in results if isinstance(item, Item)])
            return collate(results)

        self.data_collator = tell
        return original(self)

    monkeypatch.setattr(AdapterTrainer, "get_train_dataloader", spied)
    return batches


def test_an_epoch_has_text_and_media_by_their_weights(lm, tmp_path, met):
    run(recipe_of(lm, max_steps=8), tmp_path / "a")
    epoch = [name for batch in met[:8] for name in batch]
    assert len(epoch) == 32 and sum(name.startswith("text") for name in epoch) == 8
    assert len(met[0]) == 4


def test_similar_lengths_share_a_batch(lm, tmp_path, met):
    keys = {"train_sampling_strategy": "group_by_length", "max_steps": 8}
    run(recipe_of(lm, **keys), tmp_path / "a")
    texts = [name for batch in met[:8] for name in batch if name.startswith("text")]
    texts.sort(key=lambda name: -(int(name[4:]) % 6))
    assert len(texts) == 8 and sorted(met[0]) == sorted(texts[:4])  # the longest, together


def test_an_unknown_strategy_is_refused(lm, tmp_path):
    with pytest.raises(RecipeError, match="use random, sequential or group_by_length, not batch_r"):
        run(recipe_of(lm, train_sampling_strategy="batch_rebalance"), tmp_path / "a")


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_workers_change_nothing(lm, tmp_path, strategy):
    keys = {"train_sampling_strategy": strategy, "max_steps": 10, "save_strategy": "no"}
    for workers in (0, 1, 2):
        run(recipe_of(lm, dataloader_num_workers=workers, **keys), tmp_path / f"{workers}")
    first, *others = (adapter(tmp_path / f"{workers}") for workers in (0, 1, 2))
    assert all(same(first, other) for other in others)


class Stop(Exception):
    pass


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_a_resumed_run_meets_what_the_unbroken_one_meets(lm, tmp_path, monkeypatch, strategy):
    recipe = recipe_of(lm, train_sampling_strategy=strategy, save_steps=5)
    run(recipe, tmp_path / "a")
    step = AdapterTrainer.training_step

    def stopping(self, *args, **kwargs):
        if self.state.global_step == 11:  # in the middle of the second epoch
            raise Stop
        return step(self, *args, **kwargs)

    monkeypatch.setattr(AdapterTrainer, "training_step", stopping)
    with pytest.raises(Stop):
        run(recipe, tmp_path / "b")
    monkeypatch.setattr(AdapterTrainer, "training_step", step)
    run(recipe, tmp_path / "b", resume=True)
    assert same(adapter(tmp_path / "a"), adapter(tmp_path / "b"))
    losses = [
        [json.loads(line).get("loss") for line in (tmp_path / name / "log.jsonl").open()]
        for name in "ab"
    ]
    assert losses[0] == losses[1]


def test_media_are_read_once_per_use(lm, tmp_path, monkeypatch):
    """Where memory keeps nothing: every draw of a sample reads its file once, and no other."""
    monkeypatch.setattr("mmadapt.train.session.KEPT_BYTES", 0)
    monkeypatch.setattr("mmadapt.data.loader.training_workers", lambda dataset: 0)
    world.CALLS.clear()
    run(recipe_of(lm, max_steps=8), tmp_path / "a")
    assert len(world.CALLS) == 24 and len(set(world.CALLS)) == 20
