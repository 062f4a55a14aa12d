"""The recipes of the papers: checked without any network, counted to the number.

Counts are arithmetic on the published sizes, written out below.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import get_scheduler

from mmadapt.checking.dry_run import Report, dry_run
from mmadapt.recipe import load_and_resolve, load_recipe
from mmadapt.train.arguments import training_arguments

FOLDER = Path(__file__).parents[2] / "recipes" / "paper"
BASES = {"adem", "epalm", "evlm"}
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def adem(width: int) -> int:
    """Two tables of 16 x 16 + 8 x 8 rows, two projectors 1024 - 128 - d, 24 bottlenecks of 12."""
    projector = 1024 * 128 + 128 + 128 * width + width
    return 2 * 320 * width + 2 * projector + 24 * 2 * 12 * 1024


def epalm(encoder: int, width: int, linears: int = 1, prompt: int = 10, mlp: bool = False) -> int:
    """Linear maps with biases, the soft prompt, and the two linear layers that it may pass."""
    connectors = linears * (encoder * width + width)
    return connectors + prompt * width + mlp * 2 * (width * width + width)


OPT_2_7B, OPT_6_7B = 2560, 4096
BASE = epalm(768, OPT_2_7B, linears=6, mlp=True)
EPALM = {
    "epalm": BASE,
    "epalm_minimal": epalm(768, OPT_2_7B, prompt=1),
    **{
        f"epalm_{task}": BASE
        for task in ("vqav2", "gqa", "coco", "msrvtt", "msrvtt_qa", "msvd_qa", "audiocaps")
    },
    **{f"epalm_{task}_l": epalm(1024, OPT_6_7B) for task in ("vqav2", "gqa", "coco")},
    **{
        f"epalm_{task}_l": epalm(768, OPT_6_7B)
        for task in ("msrvtt", "msrvtt_qa", "msvd_qa", "audiocaps")
    },
}
ADEM = {
    f"adem_{size}_{task}": adem(width)
    for size, width in (("7b", 4096), ("13b", 5120))
    for task in ("scienceqa", "coco", "instructions")
}
# Queries and outputs 5120 x 1024, keys and values 1792 x 2048, feed-forward 5120 x 2560.
PROJECTIONS = 40 * (2 * 5120 * 1024 + 1792 * 2048 + 2 * 5120 * 2560)
DENSE = {
    "evlm: gates": 40 * 2,
    "evlm: norms": 40 * 2 * 2 * 5120,
    "evlm: projections": PROJECTIONS,
    "evlm: learnable tokens": 16 * 5120,
}
# 16 experts of a quarter of 2560, a world expert of all of it, a router; the attention stays.
EXPERTS = DENSE | {
    "evlm: projections": PROJECTIONS - 40 * 2 * 5120 * 2560,
    "evlm: routed experts": 40 * 16 * 2 * 5120 * 640,
    "evlm: world experts": 40 * 2 * 5120 * 2560,
    "evlm: routers": 40 * 16 * 5120,
}
# The last 32 of 64 blocks: attention and MLP with biases, and two norms.
BLOCK = 4 * (1792 * 1792 + 1792) + 2 * 1792 * 15360 + 15360 + 1792 + 4 * 1792
EVLM = dict.fromkeys(("evlm", "evlm_stage_1", "evlm_stage_2", "evlm_stage_3"), DENSE)
EVLM["evlm_moe"] = EXPERTS


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Asking the hub is an error at once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@cache
def report(name: str) -> Report:
    return dry_run(load_and_resolve(FOLDER / f"{name}.yaml"))


def test_the_papers_numbers():
    assert (adem(4096), adem(5120)) == (4_530_432, 5_449_984)
    assert BASE == 24_949_760
    assert epalm(1024, OPT_6_7B) == 4_239_360
    assert EPALM["epalm_minimal"] == 1_971_200
    assert PROJECTIONS == 1_614_807_040


def test_every_recipe_is_counted_here():
    assert set(RECIPES) == {"adem", *ADEM, *EPALM, *EVLM}


@pytest.mark.parametrize("name", sorted({"adem": adem(4096), **ADEM, **EPALM}))
def test_what_trains(name):
    found = report(name)
    assert found.trainable_parameters == {"adem": adem(4096), **ADEM, **EPALM}[name]
    assert found.previews[0].startswith("skipped: no ")
    assert f"{found.trainable_parameters:,}" in str(found)


@pytest.mark.parametrize("name", sorted(EVLM))
def test_what_trains_in_evlm(name):
    found = report(name)
    unfrozen = {} if name == "evlm" else {"image: unfrozen blocks": 32 * BLOCK}
    assert found.kinds == EVLM[name] | unfrozen
    assert "evlm: projections" in str(found)


@pytest.mark.parametrize("name", RECIPES)
def test_sizes_come_from_the_folder_and_departures_are_told(name):
    found = report(name)
    assert any("are read from" in note for note in found.notes)
    own = load_recipe(FOLDER / f"{name}.yaml").departures.values()
    assert own and set(own) <= set(found.departures)
    assert all(text in str(found) for text in own)


@pytest.mark.parametrize("name", sorted(set(RECIPES) - BASES))
def test_the_first_line_says_how_to_run_it(name):
    first, second = (FOLDER / f"{name}.yaml").read_text().splitlines()[:2]
    assert first.startswith(f"# mmadapt train recipes/paper/{name}.yaml   | ")
    assert second.startswith("extends: ")


@pytest.mark.parametrize(
    ("name", "batch", "epochs", "rate", "minimum"),
    [  # 8 or 4 processes each
        ("adem_7b_scienceqa", 2, 20, 9e-3 * 32 / 256, None),
        ("adem_13b_coco", 2, 5, 9e-3 * 32 / 256, None),
        ("adem_7b_instructions", 2, 15, 9e-3 * 32 / 256, None),
        ("epalm_vqav2", 64, 8, 2e-5, 1e-6),
        ("epalm_gqa", 64, 8, 2e-5, 1e-6),
        ("epalm_coco", 16, 8, 2e-5, 1e-6),
        ("epalm_vqav2_l", 2, 35, 2e-4, 1e-5),
        ("epalm_gqa_l", 8, 35, 2e-4, 1e-5),
        ("epalm_coco_l", 2, 35, 2e-4, 1e-5),
        ("epalm_msrvtt", 16, 26, 2e-5, 1e-6),
        ("epalm_msrvtt_qa", 8, 26, 2e-5, 1e-6),
        ("epalm_msvd_qa", 8, 26, 2e-5, 1e-6),
        ("epalm_audiocaps", 8, 30, 2e-5, 1e-6),
    ],
)
def test_settings_of_each_data_set(name, batch, epochs, rate, minimum):
    keys = load_recipe(FOLDER / f"{name}.yaml").train.arguments
    assert keys["per_device_train_batch_size"] == batch
    assert keys["num_train_epochs"] == epochs
    assert keys["learning_rate"] == pytest.approx(rate)
    assert keys.get("lr_scheduler_kwargs", {}).get("min_lr") == minimum


@pytest.mark.parametrize(
    ("name", "steps", "batch", "rate", "minimum", "warmup", "size"),
    [
        ("evlm_stage_1", 125_000, 480, 6e-4, 3e-5, 2000, 224),
        ("evlm_stage_2", 50_000, 160, 1e-4, 5e-5, 2000, 448),
        ("evlm_stage_3", 12_000, 16, 5e-5, 1e-6, 500, 448),
        ("evlm_moe", 12_000, 16, 5e-5, 1e-6, 500, 448),
    ],
)
def test_settings_of_each_stage(name, steps, batch, rate, minimum, warmup, size):
    recipe = load_recipe(FOLDER / f"{name}.yaml")
    keys = recipe.train.arguments
    assert (keys["max_steps"], keys["warmup_steps"]) == (steps, warmup)
    assert 8 * keys["per_device_train_batch_size"] == batch
    assert (keys["learning_rate"], keys["lr_scheduler_kwargs"]["min_lr"]) == (rate, minimum)
    assert recipe.encoders["image"].options["image_size"] == size
    assert (recipe.train.start_from is None) == (name == "evlm_stage_1")


def rates(name, folder, steps_per_epoch=1000):
    """The learning rate as a function of the step, and the last step."""
    recipe = load_recipe(FOLDER / f"{name}.yaml")
    keys = training_arguments(
        recipe.train,
        folder,
        validates="validation" in recipe.data.sources,
        metric=None,
        workers=0,
        changes={"use_cpu": True},
    )
    total = keys.max_steps if keys.max_steps > 0 else int(keys.num_train_epochs * steps_per_epoch)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=keys.learning_rate)
    schedule = get_scheduler(
        keys.lr_scheduler_type,
        optimizer,
        num_warmup_steps=keys.get_warmup_steps(total),
        num_training_steps=total,
        scheduler_specific_kwargs=keys.lr_scheduler_kwargs,
    )
    return lambda step: keys.learning_rate * schedule.lr_lambdas[0](step), total


@pytest.mark.parametrize("name", sorted(set(RECIPES) - BASES))
def test_the_keys_of_training_go_together(name, tmp_path):
    rate, total = rates(name, tmp_path)
    assert rate(total // 2) > 0


@pytest.mark.parametrize(
    ("name", "first", "warm", "peak", "last"),
    [  # steps are those of epochs of 1000 steps
        ("adem_7b_scienceqa", 0.0, 2000, 1.125e-3, 0.0),
        ("adem_7b_coco", 0.0, 100, 1.125e-3, 0.0),
        ("adem_7b_instructions", 0.0, 200, 1.125e-3, 0.0),
        ("epalm_gqa", 1e-5, 400, 2e-5, 1e-6),
        ("epalm_coco_l", 1e-4, 400, 2e-4, 1e-5),
        ("evlm_stage_1", 0.0, 2000, 6e-4, 3e-5),
        ("evlm_stage_2", 0.0, 2000, 1e-4, 5e-5),
        ("evlm_moe", 0.0, 500, 5e-5, 1e-6),
    ],
)
def test_learning_rates_are_the_published_ones(name, first, warm, peak, last, tmp_path):
    rate, total = rates(name, tmp_path)
    found = [rate(step) for step in (0, warm, total)]
    assert found == pytest.approx([first, peak, last], rel=1e-6, abs=1e-12)
    assert max(rate(step) for step in range(0, total, total // 50)) <= peak * (1 + 1e-9)
