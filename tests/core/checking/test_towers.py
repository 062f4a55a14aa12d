"""What `check` counts of encoders without weights is what the built model has."""

from __future__ import annotations

import json

import pytest
from transformers import CLIPConfig, WhisperConfig

from mmadapt.checking.dry_run import dry_run
from mmadapt.checking.towers import meta_tower
from mmadapt.composition import compose
from mmadapt.errors import RecipeError
from mmadapt.recipe import load_recipe
from tests.core.checking.test_dry_run import PARTS

UNFROZEN = {**PARTS, "train": {"unfreeze": [{"encoder": "image", "blocks": "1:", "from_step": 3}]}}


def test_unfrozen_blocks_are_counted_as_the_built_model_has_them():
    model, report = compose(UNFROZEN), dry_run(load_recipe(UNFROZEN))
    built = sum(p.numel() for p in model.trainable_parameters().values())
    assert report.trainable_parameters == built
    blocks = {name for name in report.trainable if name.startswith("encoders")}
    assert blocks == {"encoders.image.block.1", "encoders.image.block.2"}  # the last is not read
    assert report.kinds["image: unfrozen blocks"] > 0


def test_a_block_that_no_fusion_reads_is_an_error_in_check_too():
    train = {"unfreeze": [{"encoder": "image", "blocks": "3:"}]}
    with pytest.raises(RecipeError, match=r"train\.unfreeze\.0\.blocks.*no fusion reads"):
        dry_run(load_recipe({**PARTS, "train": train}))


@pytest.mark.parametrize(
    ("config", "unread"),
    [
        (CLIPConfig(text_config={"hidden_size": 512}, vision_config={"hidden_size": 48,
         "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}), "text"),
        (WhisperConfig(d_model=48, encoder_layers=2, encoder_attention_heads=4,
         encoder_ffn_dim=64, vocab_size=51865), "decoder"),
    ],
    ids=["clip", "whisper"],
)  # fmt: skip
def test_only_the_tower_that_is_read_counts(config, unread, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    tower = meta_tower(str(tmp_path))
    assert all(parameter.is_meta for parameter in tower.parameters())
    assert not any(unread in name for name, _ in tower.named_parameters())
    assert sum(parameter.numel() for parameter in tower.parameters()) < 500_000
