"""`train.unfreeze`: some encoder blocks train from a step on, everything else keeps its bits."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from mmadapt.adapters.checkpoint import BASES
from mmadapt.composition import compose, load
from mmadapt.errors import AdapterError, RecipeError
from mmadapt.features.memory import FeatureMemory
from mmadapt.freezing.unfreeze import chosen_blocks
from mmadapt.train import train
from mmadapt.train.optimizer import parameter_groups
from mmadapt.types import LevelSpec
from tests import world
from tests.core.train.test_trainer import trainer_of
from tests.tiny import TinyEncoderConfig
from tests.toy import EverySite

DEPTH = 4


class Deep(world.ColourEncoder):
    """Four blocks."""

    def __init__(self, config=None):
        super().__init__()
        super(world.ColourEncoder, self).__init__(TinyEncoderConfig(width=8, depth=DEPTH, side=2))
        self.processor = world.ColourProcessor()


class Blockless(Deep):
    def block(self, index):
        raise TypeError("Blockless does not expose its blocks")


class ReadsThird(EverySite):
    """Leaves the last block unread."""

    def levels(self, encoder):
        return [LevelSpec(2)]


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


def recipe(lm, *entries, encoder="Deep", fusion="tests.toy:EverySite", **train_keys):
    unfreeze = [{"encoder": "image", **entry} for entry in entries]
    blocks = {
        "encoders": {"image": {"use": f"tests.core.freezing.test_unfreeze:{encoder}"}},
        "fusion": {"use": fusion, "sites": ["mlp_output"]},
        "train": {"unfreeze": unfreeze, **train_keys},
    }
    return world.recipe(lm, **blocks)


def model_of(lm, *entries, **options):
    torch.manual_seed(0)
    return compose(recipe(lm, *entries, **options), allow_code=True)


def frozen_state(model):
    trained = set(model.trainable_parameters())
    return {k: v.clone() for k, v in model.state_dict().items() if k not in trained}


def block_of(name):
    return int(name.split(".")[3]) if name.startswith("encoders.image.blocks.") else None


def test_slices_are_those_of_python():
    assert chosen_blocks("32:", 64) == list(range(32, 64))
    assert chosen_blocks("-2:", 4) == [2, 3] and chosen_blocks(":", 2) == [0, 1]
    assert chosen_blocks("1:-1", 4) == [1, 2] and chosen_blocks("7:", 4) == []


@pytest.mark.parametrize(
    ("blocks", "expected"), [("2:", {2, 3}), ("-1:", {3}), ("1:3", {1, 2}), (":", {0, 1, 2, 3})]
)
def test_the_named_blocks_train_and_nothing_else_of_the_encoder(lm, tmp_path, blocks, expected):
    model = model_of(lm, {"blocks": blocks})
    trained = {block_of(name) for name in model.trainable_parameters()} - {None}
    assert trained == expected
    assert model.trainable_parameters().keys() == model.adapter_state_dict().keys()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trainer_of(model, tmp_path, keys={"max_steps": 3, "save_strategy": "no"}).train()
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert {block_of(k) for k in moved} - {None} == expected
    assert all(k.startswith(("fusions.", "encoders.image.blocks.")) for k in moved)
    with_grad = {n for n, p in model.named_parameters() if p.requires_grad}
    assert with_grad == set(model.trainable_parameters())


def test_what_lies_below_stays_out_of_the_graph(lm):
    model = model_of(lm, {"blocks": "2:"}).train()
    seen = {}

    def note(index):
        return lambda module, args, output: seen.update(
            {index: (args[0].requires_grad, output.requires_grad)}
        )

    for index, block in enumerate(model.encoders["image"].blocks):
        block.register_forward_hook(note(index))
    model.encode({"image": model.encoders["image"].inputs(2)})
    assert seen == {0: (False, False), 1: (False, False), 2: (False, True), 3: (True, True)}


def test_blocks_keep_their_bits_until_their_step(lm, tmp_path):
    model = model_of(lm, {"blocks": "2:3", "from_step": 3}, {"blocks": "3:", "from_step": 1})
    states = []

    class Note(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            states.append({k: v.clone() for k, v in model.adapter_state_dict().items()})

    states.append({k: v.clone() for k, v in model.adapter_state_dict().items()})
    trainer_of(
        model,
        tmp_path,
        keys={"max_steps": 5, "save_strategy": "no", "weight_decay": 0.5},
        callbacks=[Note()],
    ).train()

    def steps_that_moved(part):
        return [
            step
            for step, (one, two) in enumerate(pairwise(states))
            if any(not torch.equal(one[k], two[k]) for k in one if part in k)
        ]

    assert steps_that_moved("image.blocks.2.") == [3, 4]
    assert steps_that_moved("image.blocks.3.") == [1, 2, 3, 4]
    assert steps_that_moved("fusions.") == [0, 1, 2, 3, 4]


def test_a_resumed_run_unfreezes_at_the_same_step(lm, tmp_path):
    keys = {"max_steps": 6, "save_steps": 2, "save_total_limit": 3}
    entry = {"blocks": "2:", "from_step": 3}
    straight = model_of(lm, entry)
    trainer_of(straight, tmp_path / "a", keys=keys).train()
    for step in (2, 4):
        resumed = model_of(lm, entry)
        checkpoint = tmp_path / "a" / f"checkpoint-{step}"
        trainer_of(resumed, tmp_path / "b", keys=keys).train(resume_from_checkpoint=str(checkpoint))
        one, two = straight.adapter_state_dict(), resumed.adapter_state_dict()
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_learning_rate_is_their_own(lm):
    entries = ({"blocks": "2:3", "learning_rate": 1e-5}, {"blocks": "3:"})
    model = model_of(lm, *entries)
    names = {id(p): n for n, p in model.trainable_parameters().items()}
    groups = parameter_groups(model, set(names.values()), 0.1, 0.0, model.recipe)
    rates = {block_of(names[id(p)]): g.get("lr", 0.1) for g in groups for p in g["params"]}
    assert rates == {2: 1e-5, 3: 0.1, None: 0.1}
    assert sum(len(g["params"]) for g in groups) == len(names)


def test_a_block_that_waits_is_in_the_optimiser_and_in_the_adapter(lm):
    model = model_of(lm, {"blocks": "3:", "from_step": 100})
    waiting = [n for n, p in model.trainable_parameters().items() if not p.requires_grad]
    assert waiting and {block_of(name) for name in waiting} == {3}
    groups = parameter_groups(model, set(), 0.1, 0.0, model.recipe)
    told = {id(p) for g in groups for p in g["params"]}
    assert all(id(p) in told for p in model.trainable_parameters().values())


def test_a_trained_encoder_comes_back_to_the_bit(lm, tmp_path):
    folder = tmp_path / "run"
    result = train(recipe(lm, {"blocks": "2:"}), folder, allow_code=True, quiet=True)
    saved = load_file(folder / "adapter" / "adapter.safetensors")
    assert {block_of(name) for name in saved} == {None, 2, 3}
    assert result["trainable_parameters"] == sum(value.numel() for value in saved.values())
    model = load(folder, allow_code=True)
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in saved.items())
    fresh = model_of(lm).state_dict()
    assert any(not torch.equal(fresh[n], v) for n, v in saved.items() if block_of(n) is not None)


def test_an_adapter_without_the_blocks_does_not_fit(lm, tmp_path):
    model_of(lm).save_pretrained(tmp_path / "without")
    with pytest.raises(AdapterError, match=r"does not fit.*missing: encoders\.image\.blocks\.2"):
        load(
            tmp_path / "without",
            overrides=['train.unfreeze=[{encoder: image, blocks: "2:"}]'],
            allow_code=True,
        )


def test_the_frozen_rest_of_the_encoder_is_still_fingerprinted(lm, tmp_path):
    model = model_of(lm, {"blocks": "2:"})
    with torch.no_grad():
        for parameter in model.encoders["image"].blocks[2].parameters():
            parameter.add_(1.0)
    model.save_pretrained(tmp_path / "a")
    load(tmp_path / "a", allow_code=True)
    with torch.no_grad():
        model.encoders["image"].blocks[0][0].weight.add_(1.0)
    model.save_pretrained(tmp_path / "b")
    with pytest.raises(AdapterError, match=r"encoders\.image: the adapter was trained on another"):
        load(tmp_path / "b", allow_code=True)
    one, two = (json.loads((tmp_path / n / BASES).read_text())["models"] for n in "ab")
    assert one["lm"] == two["lm"] and one["encoders.image"] != two["encoders.image"]


def test_features_of_an_encoder_that_will_change_are_never_remembered(lm):
    for entry in ({"blocks": "3:"}, {"blocks": "3:", "from_step": 100}):
        memory = FeatureMemory(model_of(lm, entry), 2**20)
        inputs = {**memory.model.encoders["image"].inputs(1), "keys": ["a"]}
        for _ in range(2):
            memory.encode({"image": inputs})
        assert memory.cache.used == 0
    memory = FeatureMemory(model_of(lm), 2**20)
    memory.encode({"image": inputs})
    assert memory.cache.used > 0


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([{"blocks": "9:"}], "'9:' names no block of 'image'; it has blocks 0 to 3"),
        ([{"blocks": "3:"}], "no fusion reads the blocks '3:' of 'image'.*0 to 2"),
        ([{"blocks": "1:"}, {"blocks": ":2"}], "block 1 of 'image' is named twice"),
    ],
)
def test_blocks_that_cannot_train_are_refused(lm, entries, says):
    with pytest.raises(RecipeError, match=rf"train\.unfreeze\.\d\.blocks: .*{says}"):
        model_of(lm, *entries, fusion="tests.core.freezing.test_unfreeze:ReadsThird")


def test_an_encoder_without_blocks_is_refused(lm):
    with pytest.raises(RecipeError, match=r"unfreeze\.0\.encoder: Blockless does not expose"):
        model_of(lm, {"blocks": ":"}, encoder="Blockless")


def test_weights_that_lose_small_steps_are_refused(lm):
    encoder = Deep().to(torch.bfloat16)
    with pytest.raises(RecipeError, match=r"weights of bfloat16 lose small steps.*dtype: float32"):
        compose(recipe(lm, {"blocks": "2:"}), encoders={"image": encoder}, allow_code=True)
