"""`video`: levels of video transformers, in the order of time, row, column."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import transformers as hf

from mmadapt.contracts import encoder_info
from mmadapt.errors import ModelError
from mmadapt.types import LevelSpec
from mmadapt_vision.config import VideoConfig
from mmadapt_vision.video import VideoEncoder
from tests.plugins.mmadapt_vision.tiny_vision import (
    BLOCKS,
    VIDEO_MODELS,
    WIDTH,
    frames,
    save_model,
)

RAW = [LevelSpec(block) for block in range(BLOCKS)]
LAST = LevelSpec(BLOCKS - 1, normed=True)
SLOTS = {"timesformer": 4, "videomae": 2, "vivit": 2}
EXACT = {"rtol": 1e-5, "atol": 1e-5}  # float32; the pixels of ViViT differ in the last digit


def encoder_for(folder, **options) -> VideoEncoder:
    return VideoEncoder(VideoConfig(model=str(folder), **options))


def inputs_of(encoder, *clips):
    rows = torch.stack([encoder.processor({"type": "video", "value": clip}) for clip in clips])
    return {"values": rows, "item": torch.zeros(len(clips), 1, dtype=torch.long)}


def own_states(model, processor, *clips):
    videos = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in clips]
    return model(processor(videos, return_tensors="pt").pixel_values, output_hidden_states=True)


def in_order(name, tokens, count=4):
    """The model's own tokens, in the order of time, row, column, its CLS apart."""
    cls, patches = (tokens[:, :0], tokens) if name == "videomae" else (tokens[:, :1], tokens[:, 1:])
    if name == "timesformer":
        patches = torch.stack([patches[:, i::count] for i in range(count)], 1).flatten(1, 2)
    return cls, patches


@torch.no_grad()
@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_levels_are_the_models_own_hidden_states(name, tmp_path):
    model, processor = save_model(name, tmp_path)
    encoder = encoder_for(tmp_path, layout="clip")
    clips = [frames(4), frames(8)[4:]]
    features = encoder(inputs_of(encoder, *clips), [*RAW, LAST])
    own = own_states(model, processor, *clips)
    expected = [*own.hidden_states[1 : BLOCKS + 1], own.last_hidden_state]
    for level, state in zip(features.levels, expected, strict=True):
        torch.testing.assert_close(level[:, 0], torch.cat(in_order(name, state), 1), **EXACT)
    prefix = 0 if name == "videomae" else 1
    assert (features.num_prefix_tokens, features.grid, encoder.num_items) == (prefix, None, 1)
    assert features.mask.shape == (2, 1, prefix + SLOTS[name] * 16) and features.mask.all()


@torch.no_grad()
@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_slots_are_the_same_tokens_by_time_without_the_cls(name, tmp_path):
    save_model(name, tmp_path)
    clip, slots = encoder_for(tmp_path, layout="clip"), encoder_for(tmp_path, layout="slots")
    whole = clip(inputs_of(clip, frames(4)), [LAST])
    features = slots(inputs_of(slots, frames(4)), [LAST])
    assert features.levels[0].shape == (1, SLOTS[name], 16, WIDTH)
    patches = whole.levels[0][:, 0, whole.num_prefix_tokens :]
    assert torch.equal(features.levels[0].flatten(1, 2), patches)
    assert features.item.tolist() == [[0] * SLOTS[name]]
    assert features.mask.shape == (1, SLOTS[name], 16)
    assert (features.num_prefix_tokens, features.grid) == (0, (4, 4))
    assert slots.num_items == SLOTS[name]


@torch.no_grad()
def test_tokens_of_a_slot_change_with_its_own_frames(tmp_path):
    """Before any attention mixes times, only the slot whose frame differs may differ."""
    save_model("timesformer", tmp_path)
    encoder = encoder_for(tmp_path, layout="slots")
    for block in encoder.blocks:  # without attention a block works on each token alone
        for part in (block.temporal_attention, block.attention):
            part.register_forward_hook(lambda m, a, out: (torch.zeros_like(out[0]), *out[1:]))
    clip = frames(4)
    other = clip.copy()
    other[2] = 255 - other[2]
    a, b = (encoder(inputs_of(encoder, x), [RAW[0]]).levels[0] for x in (clip, other))
    assert [torch.equal(a[0, i], b[0, i]) for i in range(4)] == [True, True, False, True]
    half = clip.copy()
    half[1, :25] = 0  # the upper rows of frame 1
    c = encoder(inputs_of(encoder, half), [RAW[0]]).levels[0]
    same = [torch.equal(a[0, 1, i], c[0, 1, i]) for i in range(16)]
    assert not any(same[:4]) and all(same[-4:])


@torch.no_grad()
@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_auto_layout_and_info(name, tmp_path):
    save_model(name, tmp_path)
    config = VideoConfig(model=str(tmp_path))
    encoder = VideoEncoder(config)
    assert (encoder.grid is None) == (name != "videomae")
    assert VideoEncoder.info(config) == encoder_info(encoder)


@torch.no_grad()
def test_padded_clips_are_masked(tmp_path):
    save_model("videomae", tmp_path)
    encoder = encoder_for(tmp_path)
    values = inputs_of(encoder, frames(4), frames(8)[4:])["values"]
    features = encoder({"values": values, "item": torch.tensor([[0], [-1]])}, [LAST])
    assert features.item.tolist() == [[0, 0], [-1, -1]]
    assert features.mask.all(-1).tolist() == [[True, True], [False, False]]
    assert not features.levels[0][1].any() and features.levels[0][0].any()


@torch.no_grad()
def test_timesformer_takes_other_lengths_by_stretching_its_time_embeddings(tmp_path):
    model, _ = save_model("timesformer", tmp_path)
    encoder = encoder_for(tmp_path, num_frames=8, layout="slots")
    assert encoder.num_items == 8
    level = encoder(inputs_of(encoder, frames(8)), [LAST]).levels[0]
    # An untouched model of eight frames whose time embeddings each stand twice.
    config = hf.TimesformerConfig(**{**model.config.to_diff_dict(), "num_frames": 8})
    longer = hf.TimesformerModel(config).eval()
    weights = model.state_dict()
    weights["embeddings.time_embeddings"] = weights["embeddings.time_embeddings"].repeat_interleave(
        2, dim=1
    )
    longer.load_state_dict(weights)
    processor = hf.AutoVideoProcessor.from_pretrained(tmp_path)
    own = own_states(longer, processor, frames(8)).last_hidden_state
    patches = in_order("timesformer", own, count=8)[1]
    torch.testing.assert_close(level.flatten(1, 2), patches, **EXACT)


def test_models_of_a_fixed_length_refuse_another(tmp_path):
    for name in ("videomae", "vivit"):
        save_model(name, tmp_path / name)
        with pytest.raises(ModelError, match="takes clips of 4 frames, not 8"):
            VideoEncoder.info(VideoConfig(model=str(tmp_path / name), num_frames=8))


def test_space_only_timesformer_points_to_vit_frames(tmp_path):
    model, _ = save_model("timesformer", tmp_path)
    model.config.attention_type = "space_only"
    model.config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="vit_frames"):
        VideoEncoder.info(VideoConfig(model=str(tmp_path)))


@torch.no_grad()
def test_videomae_without_a_final_norm_gives_its_raw_last_level(tmp_path):
    model, _ = save_model("videomae", tmp_path)
    config = hf.VideoMAEConfig(**{**model.config.to_diff_dict(), "use_mean_pooling": True})
    hf.VideoMAEModel(config).save_pretrained(tmp_path)
    encoder = encoder_for(tmp_path)
    raw, normed = encoder(inputs_of(encoder, frames(4)), [RAW[-1], LAST]).levels
    assert torch.equal(raw, normed)


@torch.no_grad()
def test_keep_blocks(tmp_path):
    save_model("timesformer", tmp_path)
    encoder = encoder_for(tmp_path)
    inputs = inputs_of(encoder, frames(4))
    before = encoder(inputs, [RAW[0]]).levels[0]
    encoder.keep_blocks(1)
    assert len(encoder.blocks) == 1
    assert torch.equal(encoder(inputs, [RAW[0]]).levels[0], before)


def test_mlp_where_the_block_has_one(tmp_path):
    save_model("vivit", tmp_path / "vivit")
    assert encoder_for(tmp_path / "vivit").mlp(0).fc1.in_features == WIDTH
    save_model("timesformer", tmp_path / "timesformer")
    with pytest.raises(TypeError, match="VideoEncoder"):
        encoder_for(tmp_path / "timesformer").mlp(0)


def test_short_clips_at_a_rate_repeat_their_last_frame(tmp_path):
    save_model("vivit", tmp_path)
    processor = encoder_for(tmp_path, sampling="fps", fps=1.0).processor
    clip = np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None, None, None] * 9, (3, 32, 32, 3))
    processor.frames._read = lambda media, rng: clip  # what a rate finds in three seconds
    pixels = processor({"type": "video", "path": "x.mp4"})
    assert pixels[0].float().mean((1, 2, 3)).tolist() == [0.0, 9.0, 18.0, 18.0]


def test_processor_pickles(tmp_path):
    save_model("vivit", tmp_path)
    processor = encoder_for(tmp_path).processor
    media = {"type": "video", "value": frames(4)}
    again = pickle.loads(pickle.dumps(processor))
    assert torch.equal(processor(media), again(media)) and processor(media).shape[:2] == (1, 4)


def test_an_image_model_is_refused_by_name(tmp_path):
    hf.ViTConfig(hidden_size=8, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is a 'vit'.*timesformer, videomae, vivit"):
        VideoEncoder.info(VideoConfig(model=str(tmp_path)))
