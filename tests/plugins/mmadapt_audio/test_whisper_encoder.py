"""`whisper`: the published encoding to the bit, and the same without the silence after a sound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf
from transformers.models.whisper.modeling_whisper import WhisperEncoder as HFWhisperEncoder

from mmadapt.contracts import encoder_info
from mmadapt.errors import ModelError
from mmadapt.types import LevelSpec
from mmadapt_audio.config import WhisperConfig
from mmadapt_audio.whisper_encoder import WhisperEncoder
from tests.plugins.mmadapt_audio.tiny_audio import (
    BLOCKS,
    RATE,
    WIDTH,
    batch_of,
    save_model,
    sound,
)

RAW = [LevelSpec(block) for block in range(BLOCKS)]
LAST = LevelSpec(BLOCKS - 1, normed=True)
EXACT = {"rtol": 0.0, "atol": 2e-6}  # float32, the same operations in the same order
CLOSE = {"rtol": 0.0, "atol": 2e-5}  # float32, sums over another number of padded terms


@pytest.fixture
def saved(tmp_path):
    return tmp_path, *save_model("whisper", tmp_path)


def encoder_of(folder, context_seconds: float = 0.0, **options) -> WhisperEncoder:
    config = WhisperConfig(model=str(folder), context_seconds=context_seconds, **options)
    return WhisperEncoder(config)


def published(model, extractor, waveforms) -> list[torch.Tensor]:
    """Raw levels and the final-normed last one, of sounds padded with silence."""
    values = extractor(waveforms, sampling_rate=RATE, return_tensors="pt").input_features
    encoder = getattr(model, "model", model).encoder
    states = []
    hooks = [
        b.register_forward_hook(lambda _, __, output: states.append(output)) for b in encoder.layers
    ]
    last = encoder(values).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*states, last]


@torch.no_grad()
@pytest.mark.parametrize("name", ["whisper", "whisper_base"])
def test_by_default_levels_are_the_models_own(name, tmp_path):
    model, extractor = save_model(name, tmp_path)
    encoder = WhisperEncoder(WhisperConfig(model=str(tmp_path), padding="max_seconds"))
    waveforms = [sound(0.31, seed=1), sound(2.0, seed=2)]
    features = encoder(batch_of(encoder, *waveforms), [*RAW, LAST])
    expected = published(model, extractor, waveforms)
    heard = [16, 100]  # 50 tokens a second
    assert features.mask.sum(-1).tolist() == [[count] for count in heard]
    assert features.grid == (1, 100) and features.num_prefix_tokens == 0
    for level, state in zip(features.levels, expected, strict=True):
        for row, count in enumerate(heard):
            torch.testing.assert_close(level[row, 0, :count], state[row, :count], **EXACT)
        assert not level[0, 0, 16:].any()


@torch.no_grad()
def test_a_sound_of_full_length_needs_no_padding_to_be_the_published_one(saved):
    folder, model, extractor = saved
    encoder = encoder_of(folder)
    waveform = sound(2.0)
    features = encoder(batch_of(encoder, waveform), [*RAW, LAST])
    for level, state in zip(features.levels, published(model, extractor, [waveform]), strict=True):
        torch.testing.assert_close(level[:, 0], state, **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("seconds", [0.025, 0.31, 0.32, 1.95, 1.99])
def test_below_the_blocks_the_embeddings_are_the_published_ones(saved, seconds):
    folder, model, extractor = saved
    encoder, entered = encoder_of(folder), []
    for module in (encoder.model, model.model.encoder):
        module.layers[0].register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    features = encoder(batch_of(encoder, sound(seconds)), RAW)
    published(model, extractor, [sound(seconds)])
    count = int(features.mask.sum())
    assert count == -(-round(seconds * RATE) // 320) == entered[0].shape[1]
    torch.testing.assert_close(entered[0], entered[1][:, :count], **EXACT)


@torch.no_grad()
def test_tokens_attend_to_the_sound_alone(saved):
    folder, model, extractor = saved
    waveform = sound(0.31)
    encoder = encoder_of(folder)
    found = encoder(batch_of(encoder, waveform), [LAST]).levels[0][0, 0]
    assert not torch.allclose(found, published(model, extractor, [waveform])[-1][0, :16], atol=1e-2)
    # The same blocks on the first positions alone, without any mask.
    own: HFWhisperEncoder = model.model.encoder
    values = extractor(waveform, sampling_rate=RATE, return_tensors="pt").input_features
    gelu = torch.nn.functional.gelu
    x = gelu(own.conv2(gelu(own.conv1(values)))).transpose(1, 2)[:, :16]
    x = x + own.embed_positions.weight[:16]
    for block in own.layers:
        x = block(x, None)
    torch.testing.assert_close(found, own.layer_norm(x)[0], **EXACT)


@torch.no_grad()
def test_the_context_is_the_silence_that_is_attended_to(saved):
    folder = saved[0]
    waveform = sound(0.31)
    silence = np.zeros(round(0.5 * RATE) - len(waveform), np.float32)
    found, whole = (
        encoder(batch_of(encoder, heard), [*RAW, LAST])
        for encoder, heard in [
            (encoder_of(folder, 0.5), waveform),
            (encoder_of(folder), np.concatenate([waveform, silence])),
        ]
    )
    assert found.mask.sum() == 16 and whole.mask.sum() == 25
    for a, b in zip(found.levels, whole.levels, strict=True):
        torch.testing.assert_close(a, b[:, :, :16], **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("padding", ["batch", "max_seconds"])
def test_a_lead_is_silence_before_the_sound_and_none_of_its_tokens(saved, padding):
    folder = saved[0]
    waveforms = [sound(0.31), sound(0.5), sound(3.0)]
    led = [np.concatenate([np.zeros(round(0.3 * RATE), np.float32), w]) for w in waveforms]
    for context in (0.0, 0.5, 30):
        leading = encoder_of(folder, context, lead_seconds=0.3, padding=padding)
        plain = encoder_of(folder, context, padding=padding)
        found, whole = (
            encoder(batch_of(encoder, *sounds), [*RAW, LAST])
            for encoder, sounds in [(leading, waveforms), (plain, led)]
        )
        assert found.mask.sum(-1).tolist() == [[16], [25], [85]]  # of 100 positions 15 are silence
        assert torch.equal(found.mask, whole.mask[:, :, 15:])
        for a, b in zip(found.levels, whole.levels, strict=True):
            torch.testing.assert_close(a, b[:, :, 15:], **CLOSE)
    assert leading.grid == (None if padding == "batch" else (1, 85))


@torch.no_grad()
@pytest.mark.parametrize("context", [0, 0.5, 30])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_neither_batch_nor_padding_matters(saved, attention, context):
    folder = saved[0]
    waveforms = [sound(0.31, seed=1), sound(1.4, seed=2), sound(0.05, seed=3)]
    levels = [*RAW, LAST]
    options = {"context_seconds": context, "attn_implementation": attention}
    encoder = encoder_of(folder, **options)
    wide = encoder_of(folder, padding="max_seconds", max_seconds=1.6, **options)
    together, padded = (e(batch_of(e, *waveforms), levels) for e in (encoder, wide))
    assert together.levels[0].shape[2] == 70 and together.grid is None
    assert padded.levels[0].shape[2] == 80 and padded.grid == (1, 80) == wide.grid
    for row, waveform in enumerate(waveforms):
        alone = encoder(batch_of(encoder, waveform), levels)
        count = alone.mask.sum()
        for a, b, c in zip(alone.levels, together.levels, padded.levels, strict=True):
            assert a.shape[2] == count
            torch.testing.assert_close(b[row, :, :count], a[0], **CLOSE)
            torch.testing.assert_close(c[row, :, :count], a[0], **CLOSE)
        assert together.mask[row].sum() == padded.mask[row].sum() == count
        assert together.mask[row, 0, :count].all()


@torch.no_grad()
def test_a_longer_sound_is_cut_or_becomes_several_items(saved):
    folder = saved[0]
    long, short = sound(1.3), sound(0.2)
    cut = encoder_of(folder, max_seconds=0.5)
    features = cut(batch_of(cut, long, short), [LAST])
    assert features.mask.sum(-1).tolist() == [[25], [10]]
    several = encoder_of(folder, max_seconds=0.5, segments=4)
    features = several(batch_of(several, long, short), [LAST])
    assert features.item.tolist() == [[0, 0, 0], [0, -1, -1]]
    assert features.mask.sum(-1).tolist() == [[25, 25, 15], [10, 0, 0]]
    third = several(batch_of(several, long[16_000:]), [LAST])
    torch.testing.assert_close(features.levels[0][0, 2, :15], third.levels[0][0, 0], **CLOSE)


@torch.no_grad()
def test_a_batch_without_any_sound_has_finite_levels(saved):
    encoder = encoder_of(saved[0])
    inputs = batch_of(encoder, sound(0.3), sound(0.2))
    features = encoder({**inputs, "item": torch.full((2, 1), -1)}, [LAST])
    assert not features.mask.any() and features.levels[0].isfinite().all()


def test_info_needs_no_weights_and_agrees_with_the_loaded_encoder(saved):
    folder = saved[0]
    configs = [
        WhisperConfig(model=str(folder), max_seconds=1.01, padding=padding, segments=2)
        for padding in ("batch", "max_seconds")
    ]
    loaded = [encoder_info(WhisperEncoder(config)) for config in configs]
    (folder / "model.safetensors").unlink()
    assert [WhisperEncoder.info(config) for config in configs] == loaded
    assert (loaded[0].num_levels, loaded[0].hidden_size, loaded[0].num_items) == (BLOCKS, WIDTH, 2)
    assert [info.grid for info in loaded] == [None, (1, 51)]


def test_the_decoder_is_not_loaded(saved):
    folder, model, _ = saved
    own = model.model.encoder.state_dict()
    found = encoder_of(folder).model.state_dict()
    assert found.keys() == own.keys()
    assert all(torch.equal(found[key], own[key]) for key in own)


@torch.no_grad()
def test_keep_blocks_train_mode_and_dtype(saved):
    encoder = encoder_of(saved[0])
    inputs, wanted = batch_of(encoder, sound(0.3)), [LevelSpec(1, normed=True)]
    before = encoder(inputs, wanted).levels[0]
    assert torch.equal(encoder.train()(inputs, wanted).levels[0], before)
    encoder.keep_blocks(2)
    assert torch.equal(encoder(inputs, wanted).levels[0], before)
    with pytest.raises(ModelError, match=r"level 2 .* blocks 0 to 1"):
        encoder(inputs, [LAST])
    half = encoder_of(saved[0], dtype="bfloat16")(inputs, wanted).levels[0]
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), before, rtol=0.1, atol=0.15)


def test_no_bottleneck_can_stand_beside_its_mlp(saved):
    with pytest.raises(TypeError, match="does not expose the MLPs"):
        encoder_of(saved[0]).mlp(0)


def test_other_architectures_and_weights_are_refused(saved):
    folder = saved[0]
    weights = (folder / "config.json").read_text()
    config = hf.WhisperConfig.from_pretrained(folder)
    config.encoder_layers = 1
    hf.WhisperModel(config).save_pretrained(folder)
    (folder / "config.json").write_text(weights)
    with pytest.raises(ModelError, match=r"lacks .* weights of type whisper"):
        encoder_of(folder)
    hf.BertConfig(hidden_size=8, num_attention_heads=2).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"is a 'bert'; this encoder takes 'whisper'"):
        WhisperEncoder.info(WhisperConfig(model=str(folder)))


def test_fingerprint_tells_what_is_fed_apart(saved):
    same = [encoder_of(saved[0]).fingerprint_config() for _ in range(2)]
    assert same[0] == same[1]
    assert encoder_of(saved[0], 30).fingerprint_config() != same[0]
