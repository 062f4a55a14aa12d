"""EVLM's stages one after the other, the recipes themselves on tiny models: nothing is lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mmadapt.recipe import load_recipe
from mmadapt.train import train
from tests.recipes.test_paper import FOLDER

BLOCKS = {  # of the four of the embedded encoder, as the recipes name them of 64
    "evlm_stage_1": [{"encoder": "image", "blocks": "2:", "from_step": 1}],
    "evlm_stage_2": [{"encoder": "image", "blocks": "2:"}],
    "evlm_stage_3": [
        {"encoder": "image", "blocks": "3:"},
        {"encoder": "image", "blocks": "2:3", "from_step": 2},
    ],
}
BLOCKS["evlm_moe"] = BLOCKS["evlm_stage_3"]
SMALL = [
    "configs=null",
    "lm={model: 'embedded:lm', dtype: float32}",
    "encoders.image={use: vit, model: 'embedded:vit', image_size: null, resize: model}",
    "fusion.num_levels=2",
    "fusion.span=null",
    "fusion.num_tokens=2",
    "head={use: caption, prompt: 'a video of'}",
    "train.max_steps=2",
    "train.per_device_train_batch_size=2",
    "train.warmup_steps=0",
    "train.bf16=false",
    "train.use_cpu=true",
]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """The weights after each stage."""
    folder = tmp_path_factory.mktemp("stages")
    records = []
    for number, colour in enumerate(["red", "green", "blue", "white"]):
        pixels = np.full((32, 32, 3), 60 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        records.append({"image": f"{number}.png", "caption": f"a {colour} square still"})
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, records)))
    found = {}
    for name, blocks in BLOCKS.items():
        changes = [
            *SMALL,
            f"data.train={json.dumps({'use': 'jsonl', 'path': str(folder / 'data.jsonl')})}",
            f"train.unfreeze={json.dumps(blocks)}",
        ]
        before = "evlm_stage_1" if name == "evlm_stage_2" else "evlm_stage_2"
        if name != "evlm_stage_1":
            changes.append(f"train.start_from={folder / before}")
        if name == "evlm_moe":
            changes.append(f"fusion.moe.upcycle_from={folder / before}")
        recipe = FOLDER / f"{name}.yaml"
        train(load_recipe(recipe, changes), folder / name, quiet=True)
        found[name] = load_file(folder / name / "adapter" / "adapter.safetensors")
    return found


def of_block(tensors, number):
    prefix = f"encoders.image.model.layers.{number}."
    return {name: value for name, value in tensors.items() if name.startswith(prefix)}


@pytest.mark.parametrize("name", list(BLOCKS))
def test_every_stage_carries_the_latter_half_of_the_encoder(adapters, name):
    numbers = {n.split(".")[4] for n in adapters[name] if n.startswith("encoders.image")}
    assert numbers == {"2", "3"}


@pytest.mark.parametrize("name", ["evlm_stage_3", "evlm_moe"])
def test_the_last_stage_trains_the_last_quarter_and_keeps_the_rest(adapters, name):
    before, after = adapters["evlm_stage_2"], adapters[name]
    kept, moved = of_block(before, 2), of_block(before, 3)
    assert kept and all(torch.equal(value, after[n]) for n, value in kept.items())
    assert moved and any(not torch.equal(value, after[n]) for n, value in moved.items())


def test_experts_start_from_the_second_stage(adapters):
    dense, experts = adapters["evlm_stage_2"], adapters["evlm_moe"]
    up = "fusions.evlm.blocks.0.mlp.up.weight"
    world = experts[up.replace("mlp.up", "mlp.world.up")]
    assert torch.allclose(world, dense[up], atol=1e-3)  # two small steps away
    assert not torch.allclose(world, adapters["evlm_stage_1"][up], atol=1e-7)
