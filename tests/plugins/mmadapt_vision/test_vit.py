"""`vit`: levels equal the model's own, whatever its family."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import transformers as hf

from mmadapt.contracts import encoder_info
from mmadapt.errors import ModelError
from mmadapt.types import LevelSpec
from mmadapt_vision.config import VitConfig
from mmadapt_vision.vit import VitEncoder
from tests.plugins.mmadapt_vision.tiny_vision import (
    BLOCKS,
    IMAGE_MODELS,
    PREFIX_TOKENS,
    WIDTH,
    picture,
    save_model,
    tower_of,
)

RAW = [LevelSpec(block) for block in range(BLOCKS)]
LAST = LevelSpec(BLOCKS - 1, normed=True)
EXACT = {"rtol": 0.0, "atol": 2e-6}  # float32, the same operations in the same order


def inputs_of(encoder: VitEncoder, *images) -> dict:
    rows = torch.stack([encoder.processor({"type": "image", "value": image}) for image in images])
    return {"values": rows, "item": torch.zeros(len(images), 1, dtype=torch.long)}


@torch.no_grad()
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_levels_are_the_models_own_hidden_states(name, tmp_path):
    model, processor = save_model(name, tmp_path)
    encoder = VitEncoder(VitConfig(model=str(tmp_path)))
    images = [picture(seed=1), picture(40, 61, seed=2)]
    features = encoder(inputs_of(encoder, *images), [*RAW, LAST])

    own = tower_of(model)(
        processor(images=images, return_tensors="pt").pixel_values, output_hidden_states=True
    )
    for level, state in zip(features.levels, own.hidden_states[1:], strict=False):
        torch.testing.assert_close(level[:, 0], state, **EXACT)
    last = features.levels[-1][:, 0]
    if name.startswith("clip"):  # its own output is the raw last state, and the CLS normed
        torch.testing.assert_close(last[:, 0], own.pooler_output, **EXACT)
    else:
        torch.testing.assert_close(last, own.last_hidden_state, **EXACT)
    prefix, (height, width) = PREFIX_TOKENS[name], (4, 4)
    assert last.shape == (2, prefix + height * width, WIDTH)
    assert features.mask.shape == (2, 1, prefix + height * width) and features.mask.all()
    assert (features.num_prefix_tokens, features.grid) == (prefix, (height, width))


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_info_needs_no_weights_and_agrees_with_the_loaded_encoder(name, tmp_path):
    save_model(name, tmp_path)
    config = VitConfig(model=str(tmp_path))
    loaded = encoder_info(VitEncoder(config))
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    assert VitEncoder.info(config) == loaded
    assert loaded.num_levels == BLOCKS and loaded.hidden_size == WIDTH


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit", "deit", "clip", "siglip", "dinov2", "dinov3_vit"])
def test_another_image_size_interpolates_the_positions(name, tmp_path):
    model, _ = save_model(name, tmp_path)
    encoder = VitEncoder(VitConfig(model=str(tmp_path), image_size=48))
    inputs = inputs_of(encoder, picture())
    assert inputs["values"].shape[-2:] == (48, 48) and encoder.grid == (6, 6)
    level = encoder(inputs, [RAW[-1]]).levels[0]
    pixels = encoder.spec.rule.normalize(inputs["values"][:, 0])
    told = {} if name.startswith("dino") else {"interpolate_pos_encoding": True}
    own = tower_of(model)(pixels, output_hidden_states=True, **told)
    torch.testing.assert_close(level[:, 0], own.hidden_states[-1], **EXACT)


@torch.no_grad()
def test_levels_come_in_the_order_asked_for_and_repeat(tmp_path):
    save_model("vit", tmp_path)
    encoder = VitEncoder(VitConfig(model=str(tmp_path)))
    inputs = inputs_of(encoder, picture())
    a, b, c = encoder(inputs, [RAW[2], RAW[0], RAW[2]]).levels
    first, last = (encoder(inputs, [RAW[block]]).levels[0] for block in (0, 2))
    assert torch.equal(a, last) and torch.equal(b, first) and torch.equal(c, last)
    assert not torch.equal(first, last)


@torch.no_grad()
def test_padded_items_are_masked_and_are_not_computed(tmp_path):
    save_model("clip", tmp_path)
    encoder = VitEncoder(VitConfig(model=str(tmp_path)))
    rows = inputs_of(encoder, picture(seed=1), picture(seed=2), picture(seed=3))["values"][:, 0]
    seen = []
    encoder.model.register_forward_hook(
        lambda module, args, output: seen.append(output.last_hidden_state.shape[0])
    )
    values = torch.stack([rows[:2], torch.stack([rows[2], torch.zeros_like(rows[2])])])
    item = torch.tensor([[0, 1], [0, -1]])
    padded = encoder({"values": values, "item": item}, [LAST])
    assert seen == [3]
    whole = encoder({"values": rows[None], "item": torch.zeros(1, 3, dtype=torch.long)}, [LAST])
    torch.testing.assert_close(padded.levels[0].flatten(0, 1)[:3], whole.levels[0][0], **EXACT)
    assert not padded.levels[0][1, 1].any()
    assert padded.mask.tolist() == [[[True] * 17] * 2, [[True] * 17, [False] * 17]]
    nothing = encoder({"values": values, "item": torch.full((2, 2), -1)}, [LAST])
    assert not nothing.mask.any() and not nothing.has_media.any()


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit", "clip", "siglip", "dinov2", "dinov3_vit"])
def test_keep_blocks_drops_the_later_blocks_and_changes_no_level_before(name, tmp_path):
    save_model(name, tmp_path)
    encoder = VitEncoder(VitConfig(model=str(tmp_path)))
    inputs = inputs_of(encoder, picture())
    wanted = [RAW[1], LevelSpec(1, normed=True)]
    before = encoder(inputs, wanted).levels
    weights = sum(p.numel() for p in encoder.parameters())
    runs = []
    encoder.blocks[2].register_forward_hook(lambda *_: runs.append(2))
    encoder.keep_blocks(2)
    after = encoder(inputs, wanted).levels
    assert len(encoder.blocks) == 2 and runs == []
    assert sum(p.numel() for p in encoder.parameters()) < weights
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert encoder.num_levels == BLOCKS  # what the model is does not change
    with pytest.raises(ModelError, match=r"level 2 .* blocks 0 to 1"):
        encoder(inputs, [RAW[2]])


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_mlp_is_the_module_between_the_second_norm_and_the_residual(name, tmp_path):
    save_model(name, tmp_path)
    encoder = VitEncoder(VitConfig(model=str(tmp_path)))
    inputs = inputs_of(encoder, picture())
    shapes = []
    handle = encoder.mlp(1).register_forward_hook(
        lambda module, args, output: shapes.append((args[0].shape[-1], output.shape[-1]))
    )
    with torch.no_grad():
        plain = encoder(inputs, RAW).levels
        handle.remove()
        encoder.mlp(1).register_forward_hook(lambda module, args, output: output + 0.1 * args[0])
        beside = encoder(inputs, RAW).levels
    assert shapes == [(WIDTH, WIDTH)]
    assert torch.equal(plain[0], beside[0]) and not torch.allclose(plain[1], beside[1])


@torch.no_grad()
def test_train_mode_gives_the_same_levels(tmp_path):
    save_model("dinov3_vit", tmp_path)  # its positions would move at random
    encoder = VitEncoder(VitConfig(model=str(tmp_path)))
    inputs = inputs_of(encoder, picture())
    quiet = encoder.eval()(inputs, [LAST]).levels[0]
    assert torch.equal(encoder.train()(inputs, [LAST]).levels[0], quiet)


def test_heads_that_levels_never_reach_are_not_loaded(tmp_path):
    for name in ("vit", "deit", "siglip"):
        save_model(name, tmp_path / name)
        encoder = VitEncoder(VitConfig(model=str(tmp_path / name)))
        surplus = [key for key, _ in encoder.named_parameters() if "head" in key or "pool" in key]
        assert surplus == []


@torch.no_grad()
def test_dtype_is_float32_unless_the_recipe_says_otherwise(tmp_path):
    model, _ = save_model("vit", tmp_path)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    assert VitEncoder(VitConfig(model=str(tmp_path))).model.dtype == torch.float32
    half = VitEncoder(VitConfig(model=str(tmp_path), dtype="bfloat16"))
    assert half(inputs_of(half, picture()), [LAST]).levels[0].dtype == torch.bfloat16


def test_gradients_reach_what_a_fusion_makes_trainable(tmp_path):
    save_model("clip", tmp_path)
    encoder = VitEncoder(VitConfig(model=str(tmp_path)))
    parameter = encoder.mlp(0).fc1.weight
    encoder.requires_grad_(False)
    parameter.requires_grad_(True)
    encoder(inputs_of(encoder, picture()), [LAST]).levels[0].sum().backward()
    assert parameter.grad is not None and parameter.grad.abs().sum() > 0


def test_processor_pickles_small_and_does_the_same(tmp_path):
    save_model("clip", tmp_path)
    processor = VitEncoder(VitConfig(model=str(tmp_path), augment="flip_crop")).processor
    pickled = pickle.dumps(processor)
    assert len(pickled) < 2000
    media = {"type": "image", "value": picture()}
    for seed in (None, 3):
        rngs = [None if seed is None else np.random.default_rng(seed) for _ in range(2)]
        assert torch.equal(processor(media, rngs[0]), pickle.loads(pickled)(media, rngs[1]))


def test_an_image_file_gives_what_the_image_in_memory_gives(tmp_path):
    save_model("vit", tmp_path)
    picture().save(tmp_path / "a.png")
    processor = VitEncoder(VitConfig(model=str(tmp_path))).processor
    from_file = processor({"type": "image", "path": str(tmp_path / "a.png")})
    assert torch.equal(from_file, processor({"type": "image", "value": picture()}))


def test_unknown_architecture_names_those_that_are_known(tmp_path):
    hf.BertConfig(hidden_size=8, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is a 'bert'.*clip_vision_model.*dinov3_vit.*vit"):
        VitEncoder.info(VitConfig(model=str(tmp_path)))


def test_missing_folder_and_missing_weights_are_one_line(tmp_path):
    with pytest.raises(ModelError, match="nowhere") as caught:
        VitEncoder(VitConfig(model=str(tmp_path / "nowhere")))
    assert "\n" not in str(caught.value)
    save_model("vit", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError) as caught:
        VitEncoder(VitConfig(model=str(tmp_path)))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_weights_of_another_model_are_refused(tmp_path):
    save_model("vit", tmp_path)
    other = hf.ViTModel(
        hf.ViTConfig(
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=32,
            patch_size=8,
        )
    )
    config = (tmp_path / "config.json").read_text()
    other.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"lacks .* weights of type vit"):
        VitEncoder(VitConfig(model=str(tmp_path)))


def test_fingerprint_tells_models_and_pixels_apart(tmp_path):
    save_model("vit", tmp_path)
    same = [VitEncoder(VitConfig(model=str(tmp_path))).fingerprint_config() for _ in range(2)]
    assert same[0] == same[1]
    other = VitEncoder(VitConfig(model=str(tmp_path), mean_std="clip")).fingerprint_config()
    assert other != same[0]
